from django.urls import path

from updates.views import UpdateViewSet

urlpatterns = [
    path("updates/check-app", UpdateViewSet.as_view({"post": "check_app"}), name="check-app"),
    path("updates/check-chapter", UpdateViewSet.as_view({"post": "check_chapter"}), name="check-chapter"),
]
