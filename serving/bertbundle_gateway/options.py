"""The options of a gateway, as the flags set them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from bertbundle import Tls
from bertbundle_gateway.core.limits import Limits
from bertbundle_gateway.core.models import ClientSettings
from bertbundle_gateway.core.servers import Servers
from bertbundle_gateway.core.tls import ServerTls

__all__ = ["GatewayOptions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayOptions:
    """The options of a gateway.

    Attributes:
        servers: the servers behind it.
        server_tls: how to secure the connections to them; None for plain text.
        server_token: returns the bearer token that is sent to them; None for none.
        clients: timeouts, retries and hedging of the calls to them.
        batches_in_flight: calls of one model and length in flight, beyond which texts of several callers are put
            together; None for never.
        host, port: address of the gRPC API; port 0 picks a free one.
        rest_port: port of the REST API; None disables it, 0 picks a free one.
        rest_timeout_seconds: deadline of a REST request.
        cors: whether web pages of other origins may send REST requests.
        page: whether the REST server serves the web page at ``/``.
        tls: certificate of both ports; None for plain text.
        api_keys_file: file with the keys that callers need; None for no keys.
        limits: limits on requests.
        message_bytes: maximum size of a request.
        log_requests: whether to log a line for each request, never with its texts.
    """

    servers: Servers
    server_tls: Tls | None = None
    server_token: Callable[[], str] | None = None
    clients: ClientSettings = field(default_factory=ClientSettings)
    batches_in_flight: int | None = 16
    host: str = "127.0.0.1"
    port: int = 8600
    rest_port: int | None = None
    rest_timeout_seconds: float = 30.0
    cors: bool = False
    page: bool = False
    tls: ServerTls | None = None
    api_keys_file: Path | None = None
    limits: Limits = field(default_factory=Limits)
    message_bytes: int = 16 << 20
    log_requests: bool = False

    def address(self, port: int) -> str:
        """Return ``host:port``, with brackets around an IPv6 host."""
        return f"[{self.host}]:{port}" if ":" in self.host else f"{self.host}:{port}"
