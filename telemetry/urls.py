from django.urls import path

from telemetry.views import AnalyticsViewSet, ProgressViewSet

urlpatterns = [
    path("progress/chapter", ProgressViewSet.as_view({"post": "record"}), name="chapter-progress"),
    path("analytics/events:ingest", AnalyticsViewSet.as_view({"post": "ingest"}), name="ingest-events"),
]
