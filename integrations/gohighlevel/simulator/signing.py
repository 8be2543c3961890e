"""App webhooks as GoHighLevel signs them, with a key of our own."""

import base64
import json
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat


class Signer:
    """`public_key` is what GOHIGHLEVEL_WEBHOOK_PUBLIC_KEYS takes."""

    def __init__(self) -> None:
        self._key = Ed25519PrivateKey.generate()
        public = self._key.public_key().public_bytes(
            Encoding.DER, PublicFormat.SubjectPublicKeyInfo
        )
        self.public_key = base64.b64encode(public).decode()

    def signed(self, document: Any) -> tuple[bytes, dict[str, str]]:
        """Body and headers of a delivery."""
        body = json.dumps(document).encode()
        signature = base64.b64encode(self._key.sign(body)).decode()
        return body, {"X-GHL-Signature": signature, "Content-Type": "application/json"}
