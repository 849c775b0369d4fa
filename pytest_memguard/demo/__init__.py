"""
A web service that leaks on purpose: every common leak is a switch, and has its repair beside it.

    leaks/  the leaks, by family      switches.py  which of them are on
    api.py  routes, schemas, OpenAPI  app.py       the service, put together
"""
