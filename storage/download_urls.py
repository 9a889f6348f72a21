from django.urls import path

from storage.views import ArtifactViewSet

urlpatterns = [
    path("artifacts/<path:key>", ArtifactViewSet.as_view({"get": "retrieve"}), name="artifact-download"),
]
