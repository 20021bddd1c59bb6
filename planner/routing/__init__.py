"""Which replica a request goes to, and when to shed.

Map:
    table    the route table a gateway holds
    traffic  what a gateway knows of each replica's load
    choose   the choice, or the refusal
"""
