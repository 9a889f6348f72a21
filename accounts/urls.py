from django.urls import path

from accounts.views import AuthViewSet, MeViewSet

urlpatterns = [
    path("auth/request-email-code", AuthViewSet.as_view({"post": "request_email_code"}), name="request-email-code"),
    path("auth/register", AuthViewSet.as_view({"post": "register"}), name="register"),
    path("auth/login", AuthViewSet.as_view({"post": "login"}), name="login"),
    path("auth/refresh", AuthViewSet.as_view({"post": "refresh"}), name="refresh"),
    path("auth/logout", AuthViewSet.as_view({"post": "logout"}), name="logout"),
    path("me", MeViewSet.as_view({"get": "retrieve"}), name="me"),
]
