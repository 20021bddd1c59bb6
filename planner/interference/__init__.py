"""What online and offline load do to each other on one replica.

Map:
    frontier   the curve a replica bears within its SLO: measured, or the stated default
"""
