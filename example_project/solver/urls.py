"""The URLs of the solver."""

from django.urls import path

from solver import views

app_name = "solver"
urlpatterns = [
    path("", views.upload_page, name="upload-page"),
    path("api/core/solve", views.solve, name="solve"),
]
