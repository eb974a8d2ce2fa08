"""The addresses of the page."""

from __future__ import annotations

from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.views import LogoutView
from django.urls import path
from django.views.i18n import set_language

from fedpriv.page import run_views, views

urlpatterns = [
    path("", views.upload, name="upload"),
    path("read", views.read, name="read"),
    path("card", views.card, name="card"),
    path("runs", run_views.runs, name="runs"),
    path("runs/<slug:name>", run_views.run, name="run"),
    path("runs/<slug:name>/report", run_views.report, name="report"),
    path("language", login_not_required(set_language), name="set_language"),  # only sets a cookie
    path("login", views.LogIn.as_view(), name="login"),
    path("logout", LogoutView.as_view(), name="logout"),
    path("healthz", views.healthz, name="healthz"),
]

handler400 = "fedpriv.page.responses.bad_request"
handler403 = "fedpriv.page.responses.forbidden"
handler404 = "fedpriv.page.responses.not_found"
handler500 = "fedpriv.page.responses.failed"
