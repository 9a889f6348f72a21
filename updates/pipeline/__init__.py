"""`/v1/admin/bundles`: what a build pipeline does with releases, without a browser.

authentication.py  API tokens and ADMIN_API_KEY
serializers.py     the wire shapes, request and answer apart
openapi.py         how both are documented
views.py           parse, call one service or selector, answer
"""
