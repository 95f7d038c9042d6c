"""A customer with a schema of its own, and the host names that lead there."""

from django_tenants.models import DomainMixin, TenantMixin


class Customer(TenantMixin):
    """A customer."""

    auto_create_schema = True
    auto_drop_schema = True


class Domain(DomainMixin):
    """A host name of a customer."""
