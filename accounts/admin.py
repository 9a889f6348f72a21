"""Users and their devices in the admin."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.forms import BaseUserCreationForm
from django.db.models import QuerySet
from django.http import HttpRequest

from accounts.models import DeviceSession, User, default_display_name
from accounts.services import revoke_session

POWER_FIELDS = ("is_staff", "is_superuser", "groups", "user_permissions")


class UserCreationForm(BaseUserCreationForm[User]):
    """Email and password; without a display name it is the part before the @, as at registration."""

    class Meta:
        model = User
        fields = ("email", "display_name")
        field_classes = {"email": forms.EmailField}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["display_name"].required = False

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if not cleaned.get("display_name"):
            cleaned["display_name"] = default_display_name(cleaned.get("email", ""))
        return cleaned


@admin.register(User)
class UserAdmin(DjangoUserAdmin):  # type: ignore[type-arg]
    """Changing the password or switching off `is_active` ends the user's sessions (see `User.save`)."""

    add_form = UserCreationForm
    ordering = ("email",)
    list_display = ("email", "display_name", "is_active", "is_staff", "created_at")
    list_filter = ("is_active", "is_staff")
    search_fields = ("email", "display_name")
    readonly_fields = ("id", "created_at", "last_login")
    show_full_result_count = False
    fieldsets = (
        (None, {"fields": ("id", "email", "display_name", "password", "created_at", "last_login")}),
        ("Permissions", {"fields": ("is_active", "is_staff", "is_superuser", "groups", "user_permissions")}),
    )
    add_fieldsets = (
        (
            None,
            {"classes": ("wide",), "fields": ("email", "display_name", "password1", "password2")},
        ),
    )

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> tuple[str, ...]:
        """Who may change users must not be able to make a superuser of anybody, themselves first."""
        shown = tuple(super().get_readonly_fields(request, obj))
        return shown if request.user.is_superuser else (*shown, *POWER_FIELDS)

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        """Nor set a superuser's password."""
        return super().has_change_permission(request, obj) and _may_touch(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return super().has_delete_permission(request, obj) and _may_touch(request, obj)


def _may_touch(request: HttpRequest, user: User | None) -> bool:
    """Only superusers touch a superuser."""
    return request.user.is_superuser or user is None or not user.is_superuser


@admin.register(DeviceSession)
class DeviceSessionAdmin(admin.ModelAdmin[DeviceSession]):
    """Sessions are made by logins; staff look at them and end them."""

    list_display = ("user", "device_id", "created_at", "last_refreshed_at", "superseded_at", "revoked_at")
    list_filter = (("revoked_at", admin.EmptyFieldListFilter), ("superseded_at", admin.EmptyFieldListFilter))
    list_select_related = ("user",)
    search_fields = ("user__email", "device_id")
    exclude = ("refresh_digest",)
    actions = ("revoke",)
    show_full_result_count = False

    @admin.action(description="Revoke: log these devices out at once", permissions=["revoke"])
    def revoke(self, request: HttpRequest, sessions: QuerySet[DeviceSession]) -> None:
        chosen = list(sessions)
        ended = sum(revoke_session(session=session) for session in chosen)
        for session in chosen:
            self.log_change(request, session, "Revoked.")
        self.message_user(request, f"Revoked {ended} of {len(chosen)} sessions.", messages.SUCCESS)

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm("accounts.change_devicesession"))

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
