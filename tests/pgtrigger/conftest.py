from tests.project_support import project

__all__ = ["project"]
