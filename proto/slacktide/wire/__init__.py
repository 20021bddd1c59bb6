"""Conventions every process of the fleet keeps on the wire.

Map:
    errors   refusals as google.rpc statuses, and back
    names    resource names
    server   a gRPC server with health, reflection and keepalive
    version  the build this process runs
"""
