"""Storages for static files that also rewrite the imports between JavaScript modules."""

from django.contrib.staticfiles.storage import ManifestStaticFilesStorage
from whitenoise.storage import CompressedManifestStaticFilesStorage


class ModuleManifestStorage(ManifestStaticFilesStorage):
    support_js_module_import_aggregation = True


class CompressedModuleManifestStorage(CompressedManifestStaticFilesStorage):
    support_js_module_import_aggregation = True
