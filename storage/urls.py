from django.urls import path

from storage.views import OssViewSet

urlpatterns = [
    path(
        "oss/resolve-artifact-url",
        OssViewSet.as_view({"post": "resolve_artifact_url"}),
        name="resolve-artifact-url",
    ),
    path(
        "oss/download-credentials",
        OssViewSet.as_view({"post": "download_credentials"}),
        name="download-credentials",
    ),
]
