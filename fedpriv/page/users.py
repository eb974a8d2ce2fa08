"""Who may log in. Django must be set up and the tables there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fedpriv.errors import InputError

if TYPE_CHECKING:
    from django.contrib.auth.models import User


@dataclass(frozen=True, slots=True)
class Known:
    """One user; an operator may also see the runs behind the model."""

    name: str
    operator: bool


def all_users() -> list[Known]:
    """Everybody, by name."""
    from django.contrib.auth.models import User

    return [Known(user.username, user.is_staff) for user in User.objects.order_by("username")]


def add_user(name: str, password: str, *, operator: bool) -> None:
    """Add a user; InputError if there is one of that name, or name or password is not good enough."""
    from django.contrib.auth.models import User
    from django.core.exceptions import ValidationError

    user = User(username=name, is_staff=operator)
    if User.objects.filter(username=name).exists():
        raise InputError(f"there is a user {name} already", hint="`fedpriv page user password` changes it")
    try:
        user.clean_fields(exclude=["password"])
    except ValidationError as error:
        raise InputError(f"user {name}: {_in_our_manner(error)}") from error
    _set_password(user, password)


def change_password(name: str, password: str) -> None:
    """Replace the password; every session of that user ends. InputError as `add_user`."""
    _set_password(find_user(name), password)


def find_user(name: str) -> User:
    """The user of that name, or InputError."""
    from django.contrib.auth.models import User

    try:
        return User.objects.get(username=name)
    except User.DoesNotExist:
        raise InputError(f"there is no user {name}", hint="`fedpriv page user list` shows them") from None


def _set_password(user: User, password: str) -> None:
    from django.contrib.auth.password_validation import validate_password
    from django.core.exceptions import ValidationError

    try:
        validate_password(password, user)
    except ValidationError as error:
        raise InputError(f"user {user.username}: {_in_our_manner(error)}") from error
    user.set_password(password)
    user.save()


def _in_our_manner(error: object) -> str:
    """Django's messages as one line, in lower case and without full stops."""
    messages: list[str] = getattr(error, "messages", [])
    return "; ".join(message[:1].lower() + message[1:].rstrip(".") for message in messages)
