from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig
from django.utils.translation import gettext_lazy as _


class AccountsConfig(AppConfig):
    name = "accounts"
    verbose_name = _("People")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from accounts import openapi  # noqa: F401  registers the security scheme


class AccountsAdminConfig(AdminConfig):
    """Django's admin with our site in its place."""

    default_site = "accounts.admin_site.AdminSite"
