//! A refund agent on stoplog: backend, five tools, and a demo that kills the host.
