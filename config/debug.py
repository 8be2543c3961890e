"""Error reports without variables.

Django's reporter shows the local variables of every frame and the request's parameters when
DEBUG is on. In this project frames hold tokens, and a callback's query holds an authorization
code, so the report is the bare traceback.
https://docs.djangoproject.com/en/5.2/howto/error-reporting/#custom-error-reports
"""

from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.views.debug import ExceptionReporter


class ReporterWithoutVariables(ExceptionReporter):
    def get_traceback_text(self) -> SafeString:
        frames = (
            f'  File "{frame["filename"]}", line {frame["lineno"]}, in {frame["function"]}'
            for frame in self.get_traceback_frames()
        )
        path = self.request.path if self.request else ""
        kind = self.exc_type.__name__ if self.exc_type else "Error"
        # Not the exception's message: a library may put an answer's body into it.
        return SafeString("\n".join([f"{kind} at {path}", "", *frames, ""]))

    def get_traceback_html(self) -> SafeString:
        return format_html(
            "<!doctype html><html lang='en'><title>Error</title><pre>{}</pre></html>",
            str(self.get_traceback_text()),
        )
