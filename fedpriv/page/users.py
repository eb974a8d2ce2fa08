"""Who may log in. Django must be set up and the tables there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedpriv.errors import InputError

if TYPE_CHECKING:
    from django.contrib.auth.models import User


def add_user(name: str, password: str, *, staff: bool) -> None:
    """Add a user; InputError if there is one of that name, or name or password is not good enough."""
    from django.contrib.auth.models import User
    from django.contrib.auth.password_validation import validate_password
    from django.core.exceptions import ValidationError

    user = User(username=name, is_staff=staff)
    try:
        user.clean_fields(exclude=["password"])
        validate_password(password, user)
    except ValidationError as error:
        raise InputError(f"user {name}: {' '.join(error.messages)}") from error
    if User.objects.filter(username=name).exists():
        raise InputError(f"there is a user {name} already", hint="`fedpriv page user password` changes it")
    user.set_password(password)
    user.save()


def change_password(name: str, password: str) -> None:
    """Replace the password; every session of that user ends. InputError if there is no such user."""
    from django.contrib.auth.password_validation import validate_password
    from django.core.exceptions import ValidationError

    user = find_user(name)
    try:
        validate_password(password, user)
    except ValidationError as error:
        raise InputError(f"user {name}: {' '.join(error.messages)}") from error
    user.set_password(password)
    user.save()


def find_user(name: str) -> User:
    """The user of that name, or InputError."""
    from django.contrib.auth.models import User

    try:
        return User.objects.get(username=name)
    except User.DoesNotExist:
        raise InputError(f"there is no user {name}", hint="`fedpriv page user list` shows them") from None
