"""Users and their devices in the admin."""

from collections.abc import Iterator
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.hashers import is_password_usable
from django.contrib.auth.models import Group
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Field, ManyToManyField, Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, gettext_noop, ngettext
from unfold.contrib.filters.admin import AutocompleteSelectFilter
from unfold.enums import ActionVariant
from unfold.forms import AdminPasswordChangeForm, UnfoldReadOnlyPasswordHashWidget
from unfold.forms import UserChangeForm as UnfoldUserChangeForm
from unfold.forms import UserCreationForm as UnfoldUserCreationForm
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget

from accounts.models import LAST_SEEN, DeviceSession, User, default_display_name
from accounts.people import ConcealedPeopleMixin, may_look_up, may_see_people, said
from accounts.selectors import count_standing_sessions, find_sessions, find_users
from accounts.services import hold_accounts, revoke_session, set_user_active
from config.admin import NO_VALUE, ModelAdmin
from config.admin_pages import (
    BoundedDeletionMixin,
    Cell,
    ChangedFieldsMixin,
    PageActionsMixin,
    Panel,
    PanelsMixin,
    RowActionsMixin,
    action,
    admin_url,
    ask,
    back_url,
    display,
    is_confirmed,
    shown_on,
)

ACTIVATED = said(gettext_noop("the state to “Active”"))
DEACTIVATED = said(gettext_noop("the state to “Inactive”"))
LOGGED_OUT = said(gettext_noop("the state to “Logged out”"))

POWER_FIELDS = ("is_staff", "is_superuser", "groups", "user_permissions")
PANEL_ROWS = 10
"""Rows of what belongs to an object on its page; the lists have the rest."""


# --- Users --------------------------------------------------------------------------------------------------------


class UserCreationForm(UnfoldUserCreationForm):
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


class PasswordWidget(UnfoldReadOnlyPasswordHashWidget):
    """Says that there is a password, and nothing of its hash."""

    def get_context(self, name: str, value: Any, attrs: dict[str, Any] | None) -> dict[str, Any]:
        context: dict[str, Any] = super().get_context(name, value, attrs)
        if value and is_password_usable(value):
            context["summary"] = [{"label": _("There is a password.")}]
        return context


class UserChangeForm(UnfoldUserChangeForm):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "password" in self.fields:
            self.fields["password"].widget = PasswordWidget()


@admin.register(User)
class UserAdmin(
    ChangedFieldsMixin,
    PanelsMixin,
    PageActionsMixin,
    BoundedDeletionMixin,
    DjangoUserAdmin,  # type: ignore[type-arg]
    ModelAdmin,  # type: ignore[type-arg]
):
    """Changing the password or switching off `is_active` ends the user's sessions (see `User.save`)."""

    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    ordering = ("email",)
    list_display = ("email", "display_name", "state", "role", "joined")
    sortable_by = ("email",)  # no other column has an index
    list_filter = ("is_active", "is_staff")
    search_fields = ("email", "display_name")
    search_help_text = gettext_lazy("The beginning of the email, or of words of the name and email.")
    readonly_fields = ("id", "created_at", "logged_in")
    filter_horizontal = ("user_permissions",)
    actions_detail = ("deactivate", "activate")
    fieldsets = (
        (None, {"fields": ("email", "display_name", "password", "is_active")}),
        (gettext_lazy("Rights in this admin"), {"fields": ("is_staff", "is_superuser", "groups")}),
        (gettext_lazy("Account"), {"fields": ("id", "created_at", "logged_in")}),
    )
    single_permissions = (
        gettext_lazy("Single permissions"),
        {"fields": ("user_permissions",), "classes": ("collapse",)},
    )
    add_fieldsets = (
        (
            None,
            {"classes": ("wide",), "fields": ("email", "display_name", "password1", "password2")},
        ),
    )

    @display(description=gettext_lazy("state"), label={"active": "success", "inactive": "danger"})
    def state(self, user: User) -> tuple[str, str]:
        return ("active", _("Active")) if user.is_active else ("inactive", _("Inactive"))

    @admin.display(description=gettext_lazy("role"))
    def role(self, user: User) -> str:
        return _("Superuser") if user.is_superuser else _("Staff") if user.is_staff else ""

    @admin.display(description=gettext_lazy("made on (UTC)"))
    def joined(self, user: User) -> str:
        return f"{user.created_at:%Y-%m-%d}"

    @admin.display(description=gettext_lazy("last login here (UTC)"))
    def logged_in(self, user: User) -> str:
        return f"{user.last_login:%Y-%m-%d %H:%M}" if user.last_login else "-"

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[User], search_term: str
    ) -> tuple[QuerySet[User], bool]:
        """Also that of the fields in which a user is chosen."""
        return (queryset.filter(pk__in=find_users(text=search_term)) if search_term.strip() else queryset), False

    def get_fieldsets(self, request: HttpRequest, obj: User | None = None) -> Any:
        """The list of all permissions is long: rights go by groups."""
        shown = super().get_fieldsets(request, obj)
        return (*shown, self.single_permissions) if obj and request.user.is_superuser else shown

    def formfield_for_dbfield(self, db_field: Field[Any, Any], request: HttpRequest, **kwargs: Any) -> Any:
        """Groups are few: a box for each, without the buttons to make and change groups beside them."""
        if db_field.name != "groups":
            return super().formfield_for_dbfield(db_field, request, **kwargs)
        assert isinstance(db_field, ManyToManyField)
        return self.formfield_for_manytomany(db_field, request, widget=UnfoldAdminCheckboxSelectMultipleWidget())

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> tuple[str, ...]:
        """Who may change users must not be able to make a superuser of anybody, themselves first."""
        shown = tuple(super().get_readonly_fields(request, obj))
        return shown if request.user.is_superuser else (*shown, *POWER_FIELDS)

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        """Nor set the password of other staff."""
        return super().has_change_permission(request, obj) and _may_touch(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return super().has_delete_permission(request, obj) and _may_touch(request, obj)

    # --- Deleting somebody whose devices go on ---

    def delete_model(self, request: HttpRequest, obj: User) -> None:
        """Django's page does this in a transaction, with the entry of the log."""
        hold_accounts(user_ids=[obj.pk])
        super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        hold_accounts(user_ids=queryset.values_list("pk", flat=True))
        super().delete_queryset(request, queryset)

    @transaction.atomic
    def response_action(self, request: HttpRequest, queryset: QuerySet[User], *args: Any, **kwargs: Any) -> Any:
        """Delete those who were chosen and log it, or neither."""
        return super().response_action(request, queryset, *args, **kwargs)

    # --- Shutting out, and letting in again ---

    def possible_actions(self, request: HttpRequest, obj: User) -> tuple[str, ...]:
        """Nobody shuts out themselves."""
        if not self._may_switch(request, obj):
            return ()
        return ("deactivate",) if obj.is_active else ("activate",)

    @action(description=gettext_lazy("Deactivate"), permissions=["switch"], icon="block", variant=ActionVariant.DANGER)
    def deactivate(self, request: HttpRequest, object_id: str) -> HttpResponse:
        user = self._to_switch(request, object_id)
        if is_confirmed(request):
            return self._switch(request, user, is_active=False)
        devices = count_standing_sessions(user=user)
        consequence = ngettext(
            "%(email)s can't log in any more, and is logged out at once on %(count)s device.",
            "%(email)s can't log in any more, and is logged out at once on %(count)s devices.",
            devices,
        ) % {"email": user.email, "count": devices}
        kept = _("Enrolments and progress stay. You can activate the account again.")
        return ask(
            self,
            request,
            title=_("Deactivate %(email)s") % {"email": user.email},
            consequences=[consequence, kept],
            submit_text=_("Deactivate"),
            variant="danger",
            obj=user,
            cancel_url=admin_url(User, "change", user.pk),
        )

    @action(description=gettext_lazy("Activate"), permissions=["switch"], icon="check", variant=ActionVariant.PRIMARY)
    def activate(self, request: HttpRequest, object_id: str) -> HttpResponse:
        user = self._to_switch(request, object_id)
        if is_confirmed(request):
            return self._switch(request, user, is_active=True)
        consequence = _("%(email)s can log in again. Devices that were logged out stay so until then.")
        return ask(
            self,
            request,
            title=_("Activate %(email)s") % {"email": user.email},
            consequences=[consequence % {"email": user.email}],
            submit_text=_("Activate"),
            obj=user,
            cancel_url=admin_url(User, "change", user.pk),
        )

    def has_switch_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        return super().has_change_permission(request)

    def _may_switch(self, request: HttpRequest, user: User) -> bool:
        return self.has_change_permission(request, user) and user != request.user

    def _to_switch(self, request: HttpRequest, object_id: str) -> User:
        user: User | None = self.get_object(request, object_id)
        if user is None or not self._may_switch(request, user):
            raise PermissionDenied
        return user

    def _switch(self, request: HttpRequest, user: User, *, is_active: bool) -> HttpResponse:
        if set_user_active(user=user, is_active=is_active):
            self.log_change(request, user, ACTIVATED if is_active else DEACTIVATED)
            done = _("%(email)s is active again.") if is_active else _("%(email)s is inactive, and logged out.")
            self.message_user(request, done % {"email": user.email}, messages.SUCCESS)
        return HttpResponseRedirect(admin_url(User, "change", user.pk))


def _may_touch(request: HttpRequest, user: User | None) -> bool:
    """Only superusers touch other staff: whoever sets somebody's password can act with their rights."""
    if request.user.is_superuser or user is None or user == request.user:
        return True
    return not (user.is_staff or user.is_superuser)


admin.site.unregister(Group)


@admin.register(Group)
class GroupAdmin(BoundedDeletionMixin, DjangoGroupAdmin, ModelAdmin):  # type: ignore[type-arg]
    """Groups, as Django has them; but nobody finds out by their members who somebody is."""

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest) -> bool:
        return may_look_up(request.user, lookup) and super().lookup_allowed(lookup, value, request)


# --- Devices ------------------------------------------------------------------------------------------------------


class SessionStateFilter(admin.SimpleListFilter):
    """Each choice has an index in the list's order."""

    title = gettext_lazy("state")
    parameter_name = "state"
    conditions = {
        "active": Q(superseded_at=None, revoked_at=None),
        "superseded": Q(superseded_at__isnull=False, revoked_at=None),
        "revoked": Q(revoked_at__isnull=False),
    }

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [
            ("active", _("Logged in")),
            ("superseded", _("Replaced by a later login")),
            ("revoked", _("Logged out")),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[DeviceSession]) -> QuerySet[DeviceSession]:
        condition = self.conditions.get(self.value() or "")
        return queryset if condition is None else queryset.filter(condition)


SESSION_LABELS = {"active": "success", "superseded": "info", "expired": "info", "revoked": "warning"}


def session_state(session: DeviceSession) -> tuple[str, str]:
    """Return the key and the name of a session's state."""
    if session.revoked_at or session.user_id is None:
        return "revoked", _("Logged out")
    if session.superseded_at:
        return "superseded", _("Replaced by a later login")
    return ("expired", _("Expired")) if session.is_expired else ("active", _("Logged in"))


def session_versions(session: DeviceSession) -> str:
    """Name the versions that a device reported last: the app's and its sidecar's."""
    return " / ".join(filter(None, (session.desktop_version, session.sidecar_version))) or NO_VALUE


def last_seen(session: DeviceSession) -> str:
    return f"{session.last_refreshed_at or session.created_at:%Y-%m-%d %H:%M}"


@admin.register(DeviceSession)
class DeviceSessionAdmin(ConcealedPeopleMixin, PageActionsMixin, RowActionsMixin, ModelAdmin[DeviceSession]):
    """Sessions are made by logins; staff look at them and end them."""

    list_display = ("device", "of_user", "state", "versions", "seen")
    row_permission = "revoke"
    list_display_links = ("device",)
    sortable_by = ()
    ordering = ("-created_at",)
    list_filter = (SessionStateFilter, ("user", AutocompleteSelectFilter))
    list_filter_submit = True
    list_select_related = ("user",)
    search_fields = ("user__email", "device_id")
    search_help_text = gettext_lazy("The beginning of the user's email or of the device ID.")
    neutral_search_help_text = gettext_lazy("The beginning of the device ID.")
    actions = ("revoke",)
    actions_detail = ("revoke_one",)
    readonly_fields = ("of_user", "state_now", "versions")
    times = (
        "created_at",
        "device_confirmed_at",
        "last_refreshed_at",
        "expires_at",
        "superseded_at",
        "revoked_at",
    )

    @admin.display(description=gettext_lazy("device ID"))
    def device(self, session: DeviceSession) -> str:
        return session.device_id if len(session.device_id) <= 20 else f"{session.device_id[:19]}…"

    @admin.display(description=gettext_lazy("user"))
    def of_user(self, session: DeviceSession) -> str:
        return session.user.email if session.user else _("Deleted account")

    @display(description=gettext_lazy("state"), label=SESSION_LABELS)
    def state(self, session: DeviceSession) -> tuple[str, str]:
        return session_state(session)

    @admin.display(description=gettext_lazy("state"))
    def state_now(self, session: DeviceSession) -> str:
        """The same for the page, where unfold draws no labels."""
        return session_state(session)[1]

    @admin.display(description=gettext_lazy("app / sidecar"))
    def versions(self, session: DeviceSession) -> str:
        return session_versions(session)

    @admin.display(description=gettext_lazy("last seen (UTC)"))
    def seen(self, session: DeviceSession) -> str:
        return last_seen(session)

    def row_button(self, obj: DeviceSession) -> tuple[str, str, str] | None:
        return None if obj.is_over else (_("Log out"), "revoke_one", obj.device_id)

    def get_fieldsets(self, request: HttpRequest, obj: DeviceSession | None = None) -> Any:
        """The user leads to their page, for those who may open it."""
        user = "user" if may_see_people(request.user) else "of_user"
        shown = {"fields": (user, "device_id", "state_now", "versions")}
        return [(None, shown), (_("Times (UTC)"), {"fields": self.times})]

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        """What an empty user means is said where it is empty."""
        if obj and obj.user_id:
            kwargs["help_texts"] = {"user": ""}
        return super().get_form(request, obj, change, **kwargs)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[DeviceSession], search_term: str
    ) -> tuple[QuerySet[DeviceSession], bool]:
        if not search_term.strip():
            return queryset, False
        found = find_sessions(text=search_term, by_email=may_see_people(request.user))
        return queryset.filter(pk__in=found), False

    @admin.action(description=gettext_lazy("Log these devices out at once"), permissions=["revoke"])
    def revoke(self, request: HttpRequest, sessions: QuerySet[DeviceSession]) -> HttpResponse | None:
        chosen = self.chosen(request, sessions)
        if not chosen:
            return None
        if not is_confirmed(request):
            return self.ask_for_rows(
                request,
                chosen,
                action="revoke",
                title=_("Log out"),
                consequences=[_consequence_of_revoking(chosen)],
                variant="danger",
            )
        ended = sum(revoke_session(session=session) for session in chosen)
        for session in chosen:
            self.log_change(request, session, LOGGED_OUT)
        done = ngettext(
            "Logged out: %(ended)s of %(count)s device.", "Logged out: %(ended)s of %(count)s devices.", len(chosen)
        )
        self.message_user(request, done % {"ended": ended, "count": len(chosen)}, messages.SUCCESS)
        return None

    @action(description=gettext_lazy("Log out"), permissions=["revoke"], icon="logout", variant=ActionVariant.DANGER)
    def revoke_one(self, request: HttpRequest, object_id: str) -> HttpResponse:
        session = self.get_object(request, object_id)
        if session is None:
            raise PermissionDenied
        page = back_url(request, admin_url(DeviceSession, "change", session.pk))
        if not is_confirmed(request):
            return ask(
                self,
                request,
                title=_("Log out this device"),
                consequences=[_consequence_of_revoking([session])],
                submit_text=_("Log out"),
                variant="danger",
                cancel_url=page,
                obj=session,
            )
        if revoke_session(session=session):
            self.log_change(request, session, LOGGED_OUT)
            self.message_user(request, _("The device is logged out."), messages.SUCCESS)
        return HttpResponseRedirect(page)

    def possible_actions(self, request: HttpRequest, obj: DeviceSession) -> tuple[str, ...]:
        return () if obj.is_over else ("revoke_one",)

    def has_revoke_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.has_perm("accounts.change_devicesession"))

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


def _consequence_of_revoking(sessions: list[DeviceSession]) -> str:
    return ngettext(
        "%(count)s device is logged out at once. Its user can log in again with the password.",
        "%(count)s devices are logged out at once. Their users can log in again with the password.",
        len(sessions),
    ) % {"count": len(sessions)}


@shown_on(User)
def devices_of_user(request: HttpRequest, user: User) -> Panel | None:
    """The devices on which the user is logged in, those that were seen last first. One query."""
    if not request.user.has_perms(["accounts.view_devicesession"]):
        return None
    may_revoke = request.user.has_perm("accounts.change_devicesession")
    sessions = user.device_sessions.filter(superseded_at=None, revoked_at=None).order_by(LAST_SEEN.desc())
    return Panel(
        title=_("Devices that are logged in"),
        headings=[_("Device ID"), _("App / sidecar"), _("Last seen (UTC)"), *([""] if may_revoke else [])],
        rows=[list(_device_row(session, back=request.path if may_revoke else "")) for session in sessions[:PANEL_ROWS]],
        empty=_("None."),
        links=[(_("All logins"), admin_url(DeviceSession, "changelist", user__id__exact=user.pk))],
    )


def _device_row(session: DeviceSession, *, back: str) -> Iterator[Cell]:
    """Yield the cells; with the button, which leads back, where there is a `back`."""
    yield Cell(session.device_id, href=admin_url(DeviceSession, "change", session.pk))
    yield Cell(session_versions(session))
    yield Cell(last_seen(session))
    if back and session.is_over:
        yield Cell("")
    elif back:
        href = admin_url(DeviceSession, "revoke_one", session.pk, back=back)
        yield Cell(_("Log out"), href=href, button_of=session.device_id)
