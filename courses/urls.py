from django.urls import path

from courses.views import CourseViewSet

urlpatterns = [
    path("courses/my", CourseViewSet.as_view({"get": "my"}), name="my-courses"),
    path("courses/join", CourseViewSet.as_view({"post": "join"}), name="join-course"),
    path("courses/<str:course_id>", CourseViewSet.as_view({"get": "retrieve"}), name="course"),
    path("courses/<str:course_id>/chapters", CourseViewSet.as_view({"get": "chapters"}), name="course-chapters"),
]
