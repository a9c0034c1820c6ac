from django.contrib.staticfiles.storage import ManifestStaticFilesStorage


class ManifestStorage(ManifestStaticFilesStorage):
    """Hashed names for all files, also in the imports of JavaScript modules."""

    support_js_module_import_aggregation = True
