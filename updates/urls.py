from django.urls import path

from updates.pipeline.views import BundleViewSet, UploadViewSet
from updates.views import UpdateViewSet

_BUNDLE = "admin/bundles/<str:id>"

urlpatterns = [
    path("updates/check-app", UpdateViewSet.as_view({"post": "check_app"}), name="check-app"),
    path("updates/check-chapter", UpdateViewSet.as_view({"post": "check_chapter"}), name="check-chapter"),
    path("admin/bundles", BundleViewSet.as_view({"get": "index"}), name="bundles"),
    path("admin/bundles/upload", UploadViewSet.as_view({"post": "upload"}), name="bundles-upload"),
    path("admin/bundles/publish", BundleViewSet.as_view({"post": "register"}), name="bundles-register"),
    path(_BUNDLE, BundleViewSet.as_view({"get": "retrieve", "delete": "destroy"}), name="bundle"),
    path(f"{_BUNDLE}/publish", BundleViewSet.as_view({"post": "publish"}), name="bundle-publish"),
    path(f"{_BUNDLE}/reschedule", BundleViewSet.as_view({"post": "reschedule"}), name="bundle-reschedule"),
    path(f"{_BUNDLE}/withdraw", BundleViewSet.as_view({"post": "withdraw"}), name="bundle-withdraw"),
    path(f"{_BUNDLE}/rollout", BundleViewSet.as_view({"post": "rollout"}), name="bundle-rollout"),
    path(f"{_BUNDLE}/verify", BundleViewSet.as_view({"post": "verify"}), name="bundle-verify"),
]
