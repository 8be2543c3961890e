"""How gunicorn serves the product; it reads this file by itself from the folder it is started in.

Threads, because a dashboard waits for QuickBooks, and because the set-up page sends a delivery to
the server that it comes from.
"""

worker_class = "gthread"
workers = 2
threads = 8
loglevel = "warning"
# No access log (the default): the query of Intuit's callback holds an authorization code.
control_socket_disable = True
