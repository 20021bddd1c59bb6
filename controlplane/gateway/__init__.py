"""The gateway: the clients' entry, a process of its own.

It imports neither storage nor the round loop: it lives on a route table it watches and
keeps in a file, and on the load that agents put into their responses.

Map:
    __main__   flags of the process
    process    starts the parts, stops them in order
    tables     route tables off the wire
    book       the table in force, and who waits for the next
    tablefile  the last table on disk
    watch      the watch stream, from any of several control planes
    agents     one channel an agent, and which agents were unreachable of late
    asked      what a client asks for, as far as a gateway reads it
    attempts   requests sent to replicas and not answered yet
    proxy      Generate: pick, forward, retry before the first token
    handover   leaving a port that a successor already listens at
"""
