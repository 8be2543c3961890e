"""Secrets at rest: MultiFernet under `TOKEN_ENCRYPTION_KEYS`, each value bound to its row.

The packaged encrypted fields fail open: with a wrong key some hand out the ciphertext as if it
were the value. Here a value that cannot be opened raises, and plain text cannot be stored.
"""

import hmac
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.db import models


class EncryptionError(Exception):
    """There is no key, the key is another one, or the ciphertext belongs to another row."""


class Secret(str):
    """A string that does not show itself in `repr`, and so not in logs of structures."""

    def __repr__(self) -> str:
        return "'[secret]'"


class Sealed(str):
    """Ciphertext. The only kind of string that an `EncryptedTextField` stores."""


def _fernet() -> MultiFernet:
    if not settings.TOKEN_ENCRYPTION_KEYS:
        raise EncryptionError("TOKEN_ENCRYPTION_KEYS is empty")
    return MultiFernet([Fernet(key) for key in settings.TOKEN_ENCRYPTION_KEYS])


def seal(value: str, context: str) -> Sealed:
    """Encrypt `value` with the first key so that it opens under this `context` only.

    Raises `EncryptionError` without a key.
    """
    return Sealed(_fernet().encrypt(f"{context}\0{value}".encode()).decode())


def unseal(sealed: str, context: str) -> Secret:
    """Decrypt with any of the keys. Raises `EncryptionError`; never returns ciphertext."""
    try:
        plain = _fernet().decrypt(sealed.encode()).decode()
    except InvalidToken:
        raise EncryptionError("no key in TOKEN_ENCRYPTION_KEYS opens this value") from None
    found, _, value = plain.partition("\0")
    if not hmac.compare_digest(found.encode(), context.encode()):
        raise EncryptionError("this value was moved here from another row")
    return Secret(value)


class _Opener:
    """Reading the attribute decrypts; the instance itself holds ciphertext alone."""

    def __init__(self, field: "EncryptedTextField") -> None:
        self.field = field

    def __get__(self, instance: models.Model | None, owner: type | None = None) -> Any:
        if instance is None:
            return self
        if self.field.attname not in instance.__dict__:  # deferred by `only()` or `defer()`
            instance.refresh_from_db(fields=[self.field.attname])
        stored = instance.__dict__[self.field.attname]
        if not stored:
            return ""
        return unseal(stored, self.field.context_of(instance))

    def __set__(self, instance: models.Model, value: str) -> None:
        if isinstance(value, Secret):  # `refresh_from_db` copies what it reads
            value = self.field.seal_for(str(getattr(instance, self.field.bound_to)), value)
        instance.__dict__[self.field.attname] = value


class EncryptedTextField(models.TextField):  # type: ignore[type-arg]
    """Ciphertext in the column, bound to table, column and the row's `bound_to` attribute."""

    def __init__(self, *args: Any, bound_to: str, **kwargs: Any) -> None:
        self.bound_to = bound_to
        super().__init__(*args, **kwargs)

    def deconstruct(self) -> tuple[str, str, list[Any], dict[str, Any]]:
        name, path, args, kwargs = super().deconstruct()
        return name, path, list(args), {**kwargs, "bound_to": self.bound_to}

    def contribute_to_class(self, cls: type[models.Model], name: str, *args: Any) -> None:
        super().contribute_to_class(cls, name, *args)
        setattr(cls, self.attname, _Opener(self))

    def context_of(self, instance: models.Model) -> str:
        return self._context(str(getattr(instance, self.bound_to)))

    def _context(self, row: str) -> str:
        return f"{self.model._meta.label_lower}.{self.name}:{row}"

    def seal_for(self, row: str, value: str) -> Sealed:
        """The ciphertext of `value` for the row whose `bound_to` attribute is `row`."""
        return seal(value, self._context(row))

    def from_db_value(self, value: str | None, *args: Any) -> Sealed | None:
        return None if value is None else Sealed(value)

    def get_prep_value(self, value: Any) -> Any:
        if value and not isinstance(value, Sealed):
            raise TypeError(f"{self.name} takes sealed values only")
        return None if value is None else str(value)

    def pre_save(self, model_instance: models.Model, add: bool) -> Any:
        return model_instance.__dict__.get(self.attname)

    def value_from_object(self, obj: models.Model) -> Any:
        # Serializers and forms come this way: they get ciphertext or nothing.
        return obj.__dict__.get(self.attname)
