"""A small HTTP/1.1 server for a directory: one process, one epoll loop, NEaT's sockets or Linux's.

    python -m neat.tools.httpd [--kernel] [--bind ADDR] [--port 80] DIRECTORY

`request` parses (pure), `files` opens what a path means, `respond` decides, `server` moves the bytes.
"""
