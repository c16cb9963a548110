"""ENGINE = "usher_backend": as Django's own, but each new connection logs in with a token that is
not old."""

from django.db.backends.postgresql import base

from checks import TENANT_A, fetch_token


# docs: begin
class DatabaseWrapper(base.DatabaseWrapper):
    def get_connection_params(self):
        return {**super().get_connection_params(), "password": fetch_token(TENANT_A)}
# docs: end
