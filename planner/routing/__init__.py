"""Which replica a request goes to, and when to shed.

Map:
    table    the route table a gateway holds
    traffic  what a gateway knows of each replica's load
    classes  which replicas serve an SLO class, and who stands in
    choose   the choice, or the refusal
"""
