"""The addresses of the page."""

from __future__ import annotations

from django.contrib.auth.views import LogoutView
from django.urls import path

from fedpriv.page import views

urlpatterns = [
    path("", views.upload, name="upload"),
    path("read", views.read, name="read"),
    path("card", views.card, name="card"),
    path("login", views.LogIn.as_view(), name="login"),
    path("logout", LogoutView.as_view(), name="logout"),
    path("healthz", views.healthz, name="healthz"),
]

handler400 = "fedpriv.page.responses.bad_request"
handler403 = "fedpriv.page.responses.forbidden"
handler404 = "fedpriv.page.responses.not_found"
handler500 = "fedpriv.page.responses.failed"
