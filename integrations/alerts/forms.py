"""The form by which a person says who hears of what."""

import secrets
from typing import Any, ClassVar

from django import forms
from django.conf import settings

from integrations.alerts.recipients import key_of
from integrations.alerts.services import Unusable, load
from integrations.models import IntegrationStatus, Recipient
from integrations.registry import all_integrations

# Of the companies that there are, so that one sees what their ids look like.
EXAMPLES = 12


class RecipientForm(forms.ModelForm):  # type: ignore[type-arg]
    """A URL may hold a secret: it can be replaced, and is never shown again."""

    new_url = forms.CharField(
        label="Apprise URL",
        required=False,
        widget=forms.TextInput(attrs={"autocomplete": "off", "size": 60}),
    )
    integrations = forms.MultipleChoiceField(
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text="None ticked: all of them.",
    )
    accounts = forms.CharField(
        label="Companies", required=False, widget=forms.Textarea(attrs={"rows": 4})
    )

    class Meta:
        model = Recipient
        fields: ClassVar = ["name", "email", "wants", "active"]
        help_texts: ClassVar = {
            "name": "Who that is. It stands in every message.",
            "email": "Either this or a URL, not both.",
            "active": "Switched off, it hears of nothing. A recipient cannot be deleted, because "
            "what it was told is kept.",
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        stored = self.instance
        self.keeps_url = bool(stored.pk and not stored.email)
        way = "For everything but e-mail, such as slack://… or msteams://… (see Apprise's list)."
        self.fields["new_url"].help_text = (
            f"{way} Empty: the one that is stored stays." if self.keeps_url else way
        )
        listed = self.fields["integrations"]
        assert isinstance(listed, forms.MultipleChoiceField)
        listed.choices = [(slug, found.name) for slug, found in all_integrations().items()]
        self.initial["integrations"] = stored.integrations
        known = IntegrationStatus.objects.exclude(account="").order_by("name")
        names = dict(known.filter(account__in=stored.accounts).values_list("account", "name"))
        self.initial["accounts"] = "\n".join(
            f"{account} {names.get(account, '')}".strip() for account in stored.accounts
        )
        examples = [
            f"{account} {name}" for account, name in known.values_list("account", "name")[:EXAMPLES]
        ]
        self.fields["accounts"].help_text = (
            "One company id a line; what follows it does not count. Empty: all of them. "
            + (f"There are: {', '.join(examples)}." if examples else "There are none yet.")
        )

    def clean_new_url(self) -> str:
        url: str = self.cleaned_data["new_url"].strip()
        if not url:
            return ""
        if not settings.TOKEN_ENCRYPTION_KEYS:
            raise forms.ValidationError(
                "It would be stored encrypted, and TOKEN_ENCRYPTION_KEYS is not set."
            )
        try:
            load(url)
        except Unusable as error:
            raise forms.ValidationError(f"This does not work: {error}.") from None
        return url

    def clean_accounts(self) -> list[str]:
        lines = self.cleaned_data["accounts"].splitlines()
        wanted = list(dict.fromkeys(line.split()[0] for line in lines if line.strip()))
        known = set(
            IntegrationStatus.objects.filter(account__in=wanted).values_list("account", flat=True)
        )
        kept = self.instance.accounts  # one that is gone may stay
        if unknown := [one for one in wanted if one not in known and one not in kept]:
            raise forms.ValidationError(f"There is no company {', '.join(unknown)} here.")
        return wanted

    def clean(self) -> dict[str, Any]:
        given = super().clean() or {}
        email, url = given.get("email", ""), given.get("new_url", "")
        if self.errors:
            return given
        if email and url:
            raise forms.ValidationError("Give an e-mail address or a URL, not both.")
        if not (email or url or self.keeps_url):
            raise forms.ValidationError("Give an e-mail address or an Apprise URL.")
        if (target := email or url) and (twin := self._twin(target)):
            raise forms.ValidationError(f"{twin} is told that way already.")
        return given

    def save(self, commit: bool = True) -> Any:
        """The key of a new recipient is made of its target, and stays when that is edited: the
        settings do not bring back what was changed here."""
        recipient, url = self.instance, self.cleaned_data["new_url"]
        recipient.integrations = self.cleaned_data["integrations"]
        recipient.accounts = self.cleaned_data["accounts"]
        if not recipient.pk:
            recipient.key = key_of(recipient.email or url)
            if Recipient.objects.filter(key=recipient.key).exists():
                recipient.key = secrets.token_hex(32)  # of one that is told in another way now
        if url:
            field = Recipient._meta.get_field("url")
            recipient.url = field.seal_for(recipient.key, url)
        elif recipient.email:
            recipient.url = ""
        if self.may_work_now:
            recipient.failing_since, recipient.error = None, ""
        return super().save(commit)

    @property
    def may_work_now(self) -> bool:
        """It goes another way, or was switched on: its failures say nothing any more."""
        return bool({"email", "new_url"} & set(self.changed_data)) or (
            "active" in self.changed_data and self.instance.active
        )

    def _twin(self, target: str) -> Recipient | None:
        others = Recipient.objects.exclude(pk=self.instance.pk)
        if "://" not in target:
            return others.filter(email__iexact=target).first()
        found = others.filter(key=key_of(target)).first()
        return found if found and not found.email and found.url == target else None
