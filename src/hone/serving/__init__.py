"""A policy behind a websocket, and the other end of the wire. One dialect per file; needs `hone-vla[serve]`.

`server.py` serves a policy, `client.py` reaches one; `hone.policies.remote` makes a policy of what is reached.
"""
