"""SQL expressions: Hamming distance, exact text, and hints to the query planner."""

from __future__ import annotations

from typing import Any

from django.db.models import F, Func, IntegerField, Q
from django.db.models.lookups import Exact

from request_images.images.hashes import HASH_DIGITS, distance

_NAME = "request_images_hamming"
_DIGITS = 16
"""The hexadecimal digits of MariaDB's numbers, which have 64 bits."""


class HammingDistance(Func):
    """The number of bits in which a column of perceptual hashes differs from one hash.

    Args:
        column: The look-up of the column; the query must leave out blank hashes.
        layout: The other hash, in hexadecimal.
    """

    output_field = IntegerField()

    def __init__(self, column: str, layout: str) -> None:
        super().__init__(F(column))
        self._layout = layout

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        """Count in Python: SQLite has no operator for that."""
        connection.ensure_connection()
        driver = connection.connection
        driver.create_function(_NAME, 2, distance, deterministic=True)
        return self._written(compiler, f"{_NAME}(%(column)s, %%s)", [self._layout])

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        """Count the bits of a bit string; "x" introduces hexadecimal digits."""
        bits = "('x' || {})::bit(256)"
        sql = f"bit_count({bits.format('%(column)s')} # {bits.format('%%s')})"
        return self._written(compiler, sql, [self._layout])

    def as_mysql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        """Add up the bits of four numbers of 64 bits."""
        starts = range(0, HASH_DIGITS, _DIGITS)
        sql = " + ".join(
            f"BIT_COUNT(CAST(CONV(SUBSTR(%(column)s, {at + 1}, {_DIGITS}), 16, 10) "
            "AS UNSIGNED) ^ %%s)"
            for at in starts
        )
        numbers = [int(self._layout[at : at + _DIGITS], 16) for at in starts]
        return self._written(compiler, f"({sql})", numbers)

    def _written(self, compiler: Any, sql: str, params: list[Any]) -> Any:
        [column] = self.get_source_expressions()
        name, _none = compiler.compile(column)
        return sql % {"column": name}, params


class Unindexed(Func):
    """A column's value for which SQLite uses no index; it has no other such hint."""

    template = "%(expressions)s"
    arity = 1

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        """Prepend a plus, which changes only the plan."""
        context["template"] = "+%(expressions)s"
        return self.as_sql(compiler, connection, **context)


class Sorted(Unindexed):
    """A column's value that no database reads in the order of an index."""

    template = "GREATEST(%(expressions)s, %(expressions)s)"


class SameText(Exact):
    """Equality of two texts, case-sensitive also on MySQL and MariaDB.

    The plain comparison stays in the condition, so that they still use an index.
    """

    def as_mysql(self, compiler: Any, connection: Any) -> Any:
        """Compare the bytes as well."""
        column, names = self.process_lhs(compiler, connection)
        text, values = self.process_rhs(compiler, connection)
        as_bytes = f"CAST(CONVERT({column} USING utf8mb4) AS BINARY)"
        params = (*names, *values)
        return f"({column} = {text} AND {as_bytes} = {text})", (*params, *params)


def same_text(column: str, text: str) -> Q:
    """Return the condition that a column has exactly this text."""
    return Q(SameText(F(column), text))
