from django.contrib import admin
from django.http import HttpRequest, HttpResponseRedirect
from django.urls import include, path
from drf_spectacular.views import SpectacularJSONAPIView, SpectacularSwaggerView

from config.health import HealthViewSet

handler400 = "config.exception_handler.bad_request"
handler403 = "config.exception_handler.forbidden"
handler404 = "config.exception_handler.not_found"
handler500 = "config.exception_handler.server_error"


def _admin_root(request: HttpRequest) -> HttpResponseRedirect:
    """People type `/admin`; the rule against redirects is for the API's paths."""
    return HttpResponseRedirect("/admin/")


urlpatterns = [
    path("healthz", HealthViewSet.as_view({"get": "retrieve"}), name="health"),
    path("openapi.json", SpectacularJSONAPIView.as_view(), name="openapi"),
    path("docs", SpectacularSwaggerView.as_view(url_name="openapi"), name="docs"),
    path("admin", _admin_root),
    path("admin/", admin.site.urls),
    path("v1/", include("accounts.urls")),
    path("v1/", include("courses.urls")),
    path("v1/", include("updates.urls")),
    path("v1/", include("storage.urls")),
    path("v1/", include("telemetry.urls")),
    path("", include("storage.download_urls")),
]
