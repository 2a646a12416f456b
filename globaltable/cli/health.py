"""`globaltable health`: whether a node serves, for what watches over it."""

from typing import Annotated

import typer

from globaltable.cli.exits import ExitStatus
from globaltable.cli.tls import tls


def health(
    address: Annotated[str, typer.Argument(metavar="HOST:PORT", help="The node's client port.")],
    timeout_s: Annotated[
        float, typer.Option("--timeout", metavar="SECONDS", min=0.01, help="To be answered.")
    ] = 2.0,
) -> None:
    """Print whether a node serves: its groups are led, and its replicas whole and not far behind.

    It is the gRPC health check, for probes that cannot show a certificate; the node's own does.
    Exit status 3 if it does not serve, or does not answer.
    """
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    from globaltable.client.tls import Credentials, open_channel

    with open_channel(address, Credentials(tls()).newest(), ()) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            told = stub.Check(health_pb2.HealthCheckRequest(), timeout=timeout_s).status
        except grpc.RpcError as error:
            typer.echo(f"globaltable: {address}: {error.code().name}", err=True)
            raise typer.Exit(ExitStatus.UNAVAILABLE) from None
    print(health_pb2.HealthCheckResponse.ServingStatus.Name(told))
    if told != health_pb2.HealthCheckResponse.SERVING:
        raise typer.Exit(ExitStatus.UNAVAILABLE)
