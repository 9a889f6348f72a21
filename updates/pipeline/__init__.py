"""`/v1/admin/bundles`: what a build pipeline does with releases, without a browser.

authentication.py  API tokens and ADMIN_API_KEY
serializers.py     the wire shapes, request and answer apart
openapi.py         how both are documented
wanted.py          what a request wants of a release that may be there already
views.py           parse, call one service or selector, answer
"""
