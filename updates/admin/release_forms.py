"""Forms of drafts: from an archive, from an archive elsewhere, and what can be changed later."""

from typing import Any, ClassVar

from django import forms
from django.contrib.postgres.forms import SimpleArrayField
from django.core.validators import RegexValidator
from django.template.defaultfilters import filesizeformat
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.widgets import (
    UnfoldAdminBigIntegerFieldWidget,
    UnfoldAdminDecimalFieldWidget,
    UnfoldAdminFileFieldWidget,
    UnfoldAdminTextInputWidget,
    UnfoldAdminURLInputWidget,
)

from config import limits
from config.errors import ApiError, ErrorCode
from config.uploads import slow_place
from updates.admin.common import PercentField, add_refusal, fault_text, refusal_text
from updates.bundles.manifest import MINIMUM_VERSIONS
from updates.models import EXPERT_ID_PATTERN, BundleRelease, BundleType, chapter_scope_id, sha256_validator
from updates.principals import Principal
from updates.services.drafts import Draft, ReleaseOptions
from updates.services.registrations import register_archive, register_draft
from updates.services.uploads import upload_archive

IDENTITY_FIELDS = ("bundle_type", "chapter", "scope_id", "version")
_PLACE_FIELDS = ("external_url", "sha256", "size_bytes")
OPTION_FIELDS = (
    "is_mandatory",
    "min_desktop_version",
    "min_sidecar_version",
    "strict_versions",
    "rollout_basis_points",
    "publish_at",
)


class OptionsForm(forms.ModelForm[BundleRelease]):
    """What can be said of a draft: for whom it is, and from when."""

    rollout_basis_points = PercentField(
        label=gettext_lazy("Rollout (%)"),
        initial=10_000,
        help_text=gettext_lazy("The share of the devices that get it; asked again at publishing."),
        widget=UnfoldAdminDecimalFieldWidget,
    )

    class Meta:
        model = BundleRelease
        fields: tuple[str, ...] = OPTION_FIELDS
        labels = {
            "bundle_type": gettext_lazy("Kind of bundle"),
            "chapter": gettext_lazy("Chapter"),
            "version": gettext_lazy("Version"),
            "is_mandatory": gettext_lazy("Mandatory"),
            "min_desktop_version": gettext_lazy("Minimum desktop version"),
            "min_sidecar_version": gettext_lazy("Minimum sidecar version"),
            "strict_versions": gettext_lazy("Strict about versions"),
            "publish_at": gettext_lazy("Offered from (UTC)"),
            "scope_id": gettext_lazy("Scope"),
            "sha256": "SHA-256",
            "external_url": gettext_lazy("URL elsewhere"),
        }
        help_texts: dict[str, Any] = {
            "is_mandatory": gettext_lazy("Devices install it before they go on."),
            "strict_versions": gettext_lazy("Devices that don't tell their version don't get it."),
            "publish_at": gettext_lazy(
                "A draft is not offered by itself: Schedule proposes this time, and Publish offers it at once."
            ),
            **dict.fromkeys(
                MINIMUM_VERSIONS, gettext_lazy("A semantic version such as 1.4.0; older ones keep the release before.")
            ),
        }


class DraftForm(OptionsForm):
    """A draft that is there already."""

    required_experts = SimpleArrayField(
        forms.CharField(
            validators=[
                RegexValidator(
                    rf"\A{EXPERT_ID_PATTERN.pattern}\Z",
                    gettext_lazy(
                        "an id has letters, digits, dot, underscore and hyphen only, and no dot at the start."
                    ),
                )
            ]
        ),
        label=gettext_lazy("Required experts"),
        required=False,
        help_text=gettext_lazy("Ids of the experts that a chapter needs, with commas between."),
        error_messages={"item_invalid": gettext_lazy("Expert %(nth)s:")},
        widget=UnfoldAdminTextInputWidget,
    )


class NewDraftForm(OptionsForm):
    """A new draft. Its experts follow from the manifest.

    Making it is the last step of validating the form, so that what the service refuses is an error of the form.
    """

    principal: Principal
    draft: Draft

    asked_fields: ClassVar[tuple[str, ...]]
    """What says which release it is, and where the bytes are."""

    class Meta(OptionsForm.Meta):
        help_texts = {
            **OptionsForm.Meta.help_texts,
            **dict.fromkeys(
                MINIMUM_VERSIONS,
                gettext_lazy("A semantic version such as 1.4.0. Empty: as the manifest says, or any."),
            ),
        }

    def _post_clean(self) -> None:
        """The service makes the model's checks too, and it alone knows the bytes under a version."""
        if self.errors:
            return
        try:
            self.draft = self._make()
        except ApiError as error:
            self._show(error)

    def _make(self) -> Draft:
        raise NotImplementedError

    def _options(self) -> ReleaseOptions:
        """A minimum that is left empty is for the manifest to say."""
        given = {name: self.cleaned_data[name] for name in OPTION_FIELDS}
        return ReleaseOptions(**{**given, **{name: given[name] or None for name in MINIMUM_VERSIONS}})

    def _show(self, error: ApiError) -> None:
        add_refusal(self, error)


class ArchiveField(forms.FileField):
    def to_python(self, data: Any) -> Any:
        """Name the limit to whoever sent more; the rest of such an archive was never kept."""
        if getattr(data, "is_too_large", False):
            raise forms.ValidationError(
                _("The archive is too large: %(most)s are the limit.")
                % {"most": filesizeformat(limits.BUNDLE_ARCHIVE_MAX_BYTES)}
            )
        return super().to_python(data)


class StatedForm(NewDraftForm):
    """A new draft of which the archive itself says what it is of, and which version."""

    bytes_field: ClassVar[str]
    """Where the archive comes from: what is wrong with it is shown there."""

    class Meta(NewDraftForm.Meta):
        fields = ("chapter", *OPTION_FIELDS)
        help_texts = {
            **NewDraftForm.Meta.help_texts,
            "chapter": gettext_lazy(
                "Empty: as the archive says. Needed for a chapter whose archive names no course here. Type the code of "
                "the course or the title."
            ),
        }

    def _show(self, error: ApiError) -> None:
        if error.code not in (ErrorCode.BUNDLE_INVALID, ErrorCode.ARTIFACT_UNREACHABLE):
            super()._show(error)
            return
        for text in [fault_text(error, fault) for fault in error.details] or [refusal_text(error)]:
            self.add_error(self.bytes_field, text)


class UploadForm(StatedForm):
    """A new draft from an archive, which goes into the artifact store."""

    archive = ArchiveField(
        label=gettext_lazy("Archive"),
        help_text=gettext_lazy("bundle.tar.gz. Its manifest says what it is of, and which version."),
        widget=UnfoldAdminFileFieldWidget,
    )

    asked_fields = ("archive", "chapter")
    bytes_field = "archive"

    def _make(self) -> Draft:
        archive = self.cleaned_data["archive"]
        return upload_archive(
            file=archive,
            chapter=self.cleaned_data["chapter"],
            principal=self.principal,
            options=self._options(),
            sha256=getattr(archive, "sha256", None),
        )


class AddressField(forms.URLField):
    """Where an archive lies that every device fetches itself."""

    def __init__(self) -> None:
        super().__init__(
            label=gettext_lazy("URL of the archive"),
            max_length=1024,
            assume_scheme="https",
            help_text=gettext_lazy("An https address from which every device can download it, without a password."),
            widget=UnfoldAdminURLInputWidget,
        )


class Sha256Field(forms.CharField):
    """Typed or pasted, in whatever case."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(label="SHA-256", widget=UnfoldAdminTextInputWidget, **kwargs)

    def clean(self, value: Any) -> str:
        sha256: str = super().clean(value).lower()
        if sha256:
            sha256_validator(sha256)
        return sha256


class FetchForm(StatedForm):
    """A new draft of an archive that lies elsewhere: it is fetched, and its manifest says what it is of."""

    external_url = AddressField()
    sha256 = Sha256Field(
        required=False,
        help_text=gettext_lazy("Of the archive, as sha256sum prints it; another one is refused. Empty: any."),
    )

    asked_fields = ("external_url", "sha256", "chapter")
    bytes_field = "external_url"

    def _make(self) -> Draft:
        with slow_place(self.principal):
            return register_archive(
                external_url=self.cleaned_data["external_url"],
                sha256=self.cleaned_data["sha256"] or None,
                chapter=self.cleaned_data["chapter"],
                principal=self.principal,
                options=self._options(),
            )


class RegisterForm(NewDraftForm):
    """A new draft of an archive that lies elsewhere; nothing is fetched until somebody verifies it.

    So nothing says what it is of but the form. A chapter's scope follows from the chapter.
    """

    external_url = AddressField()
    sha256 = Sha256Field(
        help_text=gettext_lazy("Of the archive: 64 hexadecimal digits, as sha256sum prints them."),
    )
    size_bytes = forms.IntegerField(
        label=gettext_lazy("Size in bytes"),
        min_value=1,
        max_value=limits.BUNDLE_ARCHIVE_MAX_BYTES,
        widget=UnfoldAdminBigIntegerFieldWidget,
    )

    asked_fields = (*IDENTITY_FIELDS, *_PLACE_FIELDS)

    class Meta(NewDraftForm.Meta):
        fields = (*IDENTITY_FIELDS, *OPTION_FIELDS)
        help_texts = {
            **NewDraftForm.Meta.help_texts,
            "chapter": gettext_lazy("Type the code of its course or its title."),
            "scope_id": gettext_lazy(
                "core for app agents, shared for shared experts, or an expert's id; empty for a chapter."
            ),
            "version": gettext_lazy("A version that no release of this scope has had, such as 1.2.0."),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["scope_id"].required = False

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        chapter = cleaned.get("chapter")
        if cleaned.get("bundle_type") == BundleType.CHAPTER:
            if chapter is not None:
                cleaned["scope_id"] = chapter_scope_id(chapter.course_id, chapter.chapter_code)
            elif "chapter" not in self.errors:
                self.add_error("chapter", _("Choose the chapter that the bundle is for."))
        elif chapter is not None:
            self.add_error("chapter", _("Only a chapter's bundle has a chapter."))
        elif not cleaned.get("scope_id") and "scope_id" not in self.errors:
            self.add_error("scope_id", _("Give the scope that the bundle is for."))
        return cleaned

    def _make(self) -> Draft:
        return register_draft(
            **{name: self.cleaned_data[name] for name in ("bundle_type", "scope_id", "version", *_PLACE_FIELDS)},
            manifest={},
            principal=self.principal,
            options=self._options(),
        )
