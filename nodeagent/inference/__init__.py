"""Online requests: from a gRPC call to an engine's stream.

Map:
    generation  GenerateRequest -> Generation, everything checked
    bodies      Generation -> the engine's request body, pure
    servicer    InferenceService: choose a replica, stream, abort, account
"""
