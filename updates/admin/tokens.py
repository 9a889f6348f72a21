"""API tokens in the admin: made, shown once, listed, revoked."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, gettext_noop
from django_stubs_ext import StrOrPromise
from unfold.contrib.filters.admin import DropdownFilter
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget

from accounts.models import User
from config import limits
from config.admin import ModelAdmin
from config.errors import ApiError
from config.urlbase import public_base_url
from updates.admin.common import ObjectActionsMixin, add_refusal, listed, minute
from updates.models import FIXED_SCOPES, Ability, ApiToken, BundleType
from updates.principals import person
from updates.services import tokens

_DEFAULT_LIFETIME: Final = timedelta(days=90)

ASKED_FIELDS = ("name", "abilities", "bundle_types", "course", "expires_at")
FACT_LABELS: Final[Mapping[str, StrOrPromise]] = {
    "name": gettext_lazy("Name"),
    "hint": gettext_lazy("Begins with"),
    "created_at": gettext_lazy("Made (UTC)"),
    "expires_at": gettext_lazy("Expires (UTC)"),
    "last_used_at": gettext_lazy("Last used (UTC)"),
    "revoked_at": gettext_lazy("Revoked (UTC)"),
}


ABILITY_NAMES: Final[Mapping[str, StrOrPromise]] = {
    Ability.READ: gettext_lazy("read"),
    Ability.UPLOAD: gettext_lazy("upload"),
    Ability.PUBLISH: gettext_lazy("publish"),
}
"""What people call the abilities, where there is little room."""


_REVOKED: Final = [{"changed": {"fields": [gettext_noop("the state to “Revoked”")]}}]
"""For the token's history, in the form that Django puts into the reader's language: "Changed …"."""


def _default_expiry() -> datetime:
    return timezone.now() + _DEFAULT_LIFETIME


class TokenForm(forms.ModelForm[ApiToken]):
    """A new token. Making it is the last step of validating the form, so that what the service refuses is an error."""

    abilities = forms.MultipleChoiceField(
        label=gettext_lazy("What the token may do"),
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        help_text=gettext_lazy("No more than you may do yourself."),
    )
    bundle_types = forms.MultipleChoiceField(
        label=gettext_lazy("For these kinds of bundles"),
        choices=BundleType.choices,
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        required=False,
        help_text=gettext_lazy("None ticked: all."),
    )

    maker: User
    made: ApiToken
    secret: str

    class Meta:
        model = ApiToken
        fields = ASKED_FIELDS
        labels = {
            "name": gettext_lazy("Name"),
            "course": gettext_lazy("Course"),
            "expires_at": gettext_lazy("Expires (UTC)"),
        }
        help_texts = {
            "name": gettext_lazy("The audit shows it, e.g. the pipeline's name."),
            "course": gettext_lazy("For this course's chapters only."),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        maker = person(self.maker)
        self.fields["abilities"].choices = [choice for choice in Ability.choices if maker.may(choice[0])]  # type: ignore[attr-defined]
        self.fields["expires_at"].initial = _default_expiry
        self.fields["expires_at"].help_text = _("At most %(days)s days from now.") % {"days": limits.API_TOKEN_MAX_DAYS}

    def _post_clean(self) -> None:
        super()._post_clean()  # type: ignore[misc]
        if self.errors:
            return
        try:
            self.made, self.secret = tokens.create_token(**self.cleaned_data, created_by=self.maker)
        except ApiError as error:
            add_refusal(self, error)


class StateFilter(DropdownFilter):
    title = gettext_lazy("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("valid", _("Valid")), ("expired", _("Expired")), ("revoked", _("Revoked"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[ApiToken]) -> QuerySet[ApiToken]:
        now = timezone.now()
        conditions = {
            "valid": Q(revoked_at=None, expires_at__gt=now),
            "expired": Q(revoked_at=None, expires_at__lte=now),
            "revoked": Q(revoked_at__isnull=False),
        }
        return queryset.filter(conditions.get(self.value() or "", Q()))


@admin.register(ApiToken)
class ApiTokenAdmin(ObjectActionsMixin, ModelAdmin[ApiToken]):
    """Nothing of a token can be changed but that it ends, and none is deleted: the audit names them."""

    list_display = ("name", "state", "may", "bounds", "maker", "expires", "last_used", "begins_with")
    list_filter = (StateFilter,)
    list_filter_submit = True
    list_select_related = ("created_by", "course")
    search_fields = ("name", "hint", "created_by__email")
    ordering = ("-created_at",)
    autocomplete_fields = ("course",)
    add_text = gettext_lazy("Add an API token")
    actions = ("revoke",)
    dangerous_actions = ("revoke",)

    @admin.display(description=gettext_lazy("Made by"), ordering="created_by__email")
    def maker(self, token: ApiToken) -> str:
        return token.created_by.email if token.created_by else ""

    @admin.display(description=gettext_lazy("What it may do"))
    def may(self, token: ApiToken) -> str:
        return str(capfirst(_abilities(token)))

    @admin.display(description=gettext_lazy("For which bundles"))
    def bounds(self, token: ApiToken) -> str:
        types = listed(BundleType(value).label for value in token.bundle_types if value in BundleType.values)
        bundles = types or _("all bundles")
        if token.course is None:
            return bundles
        return _("%(bundles)s of %(course)s") % {"bundles": bundles, "course": token.course.course_code}

    @admin.display(description=gettext_lazy("Begins with"))
    def begins_with(self, token: ApiToken) -> str:
        return token.hint

    @admin.display(description=gettext_lazy("Expires (UTC)"), ordering="expires_at")
    def expires(self, token: ApiToken) -> str | None:
        return minute(token.expires_at)

    @admin.display(description=gettext_lazy("Last used (UTC)"), ordering="last_used_at")
    def last_used(self, token: ApiToken) -> str | None:
        return minute(token.last_used_at)

    @admin.display(description=gettext_lazy("State"))
    def state(self, token: ApiToken) -> str:
        maker = token.created_by
        if token.revoked_at is not None:
            return _("Revoked")
        if token.expires_at <= timezone.now():
            return _("Expired")
        if maker is None or not maker.is_active or not maker.is_staff:
            return _("Refused: its maker is no longer staff")
        return _("Valid")

    def get_fields(self, request: HttpRequest, obj: ApiToken | None = None) -> tuple[str, ...]:
        if obj is None:
            return ASKED_FIELDS
        times = ("created_at", "expires_at", "last_used_at", "revoked_at")
        return ("name", "hint", "state", "may", "bounds", "maker", *times)

    def get_form(self, request: Any, obj: Any | None = None, change: bool = False, **kwargs: Any) -> Any:
        if obj is not None:
            return super().get_form(
                request, obj, change, help_texts={"name": "", "hint": ""}, labels=FACT_LABELS, **kwargs
            )
        form = super().get_form(request, obj, change, form=TokenForm, **kwargs)
        form.maker = request.user  # type: ignore[attr-defined]
        return form

    def has_change_permission(self, request: HttpRequest, obj: ApiToken | None = None) -> bool:
        return False

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.has_perm("updates.change_apitoken"))

    # Deleting a course that has a token asks for the permission to delete it, so the permission stays; the ways to
    # delete a token alone are closed.

    deletes_from_list = False

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        raise PermissionDenied

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        context |= {"show_delete": False, "show_save_and_add_another": False, "show_save_and_continue": False}
        response = super().render_change_form(request, context, *args, **kwargs)
        token = kwargs.get("obj")
        if token and not _may_revoke(request, token):
            context["object_actions"] = {}  # the answer is rendered later
        return response

    # --- Making and revoking ---

    def save_form(self, request: HttpRequest, form: Any, change: bool) -> Any:
        super().save_form(request, form, change)
        return form.made

    def save_model(self, request: HttpRequest, obj: ApiToken, form: Any, change: bool) -> None:
        """The form has made it, by the service. The secret goes on to the page that shows it, and nowhere else."""
        request.new_token_secret = form.secret  # type: ignore[attr-defined]

    def response_add(self, request: HttpRequest, obj: ApiToken, post_url_continue: str | None = None) -> HttpResponse:
        """Show the secret in the answer itself: a redirect would need to keep it somewhere on the way.

        No cache keeps the page either: the admin sends all of its pages with `no-store`.
        """
        context = {
            **self.admin_site.each_context(request),
            "title": _("The API token %(name)s is made") % {"name": obj.name},
            "opts": self.opts,
            "token": obj,
            "may": _abilities(obj),
            "bounds": self.bounds(obj),
            "secret": request.new_token_secret,  # type: ignore[attr-defined]
            "example": _example_of(obj),
            "base_url": public_base_url(request),
        }
        return TemplateResponse(request, "admin/updates/apitoken/made.html", context)

    def object_actions(self, obj: ApiToken) -> Mapping[str, str]:
        return {} if obj.revoked_at else {"revoke": _("Revoke")}

    @admin.action(description=gettext_lazy("Revoke: these stop at once, for good"), permissions=["revoke"])
    def revoke(self, request: HttpRequest, chosen: QuerySet[ApiToken]) -> HttpResponse | None:
        standing = [token for token in chosen if token.revoked_at is None]
        if not all(_may_revoke(request, token) for token in standing):
            self.message_user(
                request, _("You may revoke only API tokens that you made. Nothing was done."), messages.ERROR
            )
            return None
        if standing and "confirmed" not in request.POST:
            context = {
                **self.admin_site.each_context(request),
                "title": _("Revoke"),
                "variant": "danger",
                "opts": self.opts,
                "action": "revoke",
                "chosen": [(token, _abilities(token), self.bounds(token)) for token in standing],
            }
            return TemplateResponse(request, "admin/updates/apitoken/revoke.html", context)
        ended = [token for token in standing if tokens.revoke_token(token=token)]
        for token in ended:
            self.log_change(request, token, _REVOKED)
        level = messages.SUCCESS if ended else messages.WARNING
        self.message_user(
            request, _("Revoked %(ended)s of %(chosen)s tokens.") % {"ended": len(ended), "chosen": len(chosen)}, level
        )
        return None


def _may_revoke(request: HttpRequest, token: ApiToken) -> bool:
    """Others' tokens are for superusers: a pipeline of theirs would stop."""
    return bool(request.user.is_superuser or token.created_by_id == request.user.pk)


def _abilities(token: ApiToken) -> str:
    return listed(ABILITY_NAMES.get(name, name) for name in token.abilities)


def _example_of(token: ApiToken) -> Mapping[str, str]:
    """Return a scope that the token is for, to show an upload by."""
    given = token.bundle_types or ([BundleType.CHAPTER] if token.course else [BundleType.APP_AGENTS])
    bundle_type = BundleType.CHAPTER.value if token.course else given[0]
    of_family = {
        BundleType.EXPERTS.value: "EXPERT_ID",
        BundleType.CHAPTER.value: f"{token.course_id or 'COURSE_ID'}/CHAPTER_CODE",
        **FIXED_SCOPES,
    }
    return {"bundle_type": bundle_type, "scope_id": of_family[bundle_type]}
