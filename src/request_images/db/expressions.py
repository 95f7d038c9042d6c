"""How far two difference hashes are apart, in the SQL of every supported database."""

from __future__ import annotations

from typing import Any

from django.db.models import F, Func, IntegerField, Q
from django.db.models.lookups import (
    Exact,
)

from request_images.images.hashes import LAYOUT_LENGTH, distance

_NAME = "request_images_hamming"
_DIGITS = 16
"""The hexadecimal digits of 64 bits, which is what MariaDB computes with."""


class HammingDistance(Func):
    """In how many bits a column with difference hashes differs from one of them.

    Args:
        column: The look-up of the column; blank hashes are to be left out.
        layout: The other hash, in hexadecimal.
    """

    output_field = IntegerField()

    def __init__(self, column: str, layout: str) -> None:
        super().__init__(F(column))
        self._layout = layout

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        """Count in Python: SQLite has no operator for it."""
        connection.ensure_connection()
        driver = connection.connection
        driver.create_function(_NAME, 2, distance, deterministic=True)
        return self._written(compiler, f"{_NAME}(%(column)s, %%s)", [self._layout])

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        """Count the bits of a bit string, which begins with an x in hexadecimal."""
        bits = "('x' || {})::bit(256)"
        sql = f"bit_count({bits.format('%(column)s')} # {bits.format('%%s')})"
        return self._written(compiler, sql, [self._layout])

    def as_mysql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        """Add up the bits of four numbers."""
        starts = range(0, LAYOUT_LENGTH, _DIGITS)
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
    """A column's value that SQLite looks up in no index: it has no other hints."""

    template = "%(expressions)s"
    arity = 1

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        """Put a plus in front, which changes nothing but the plan."""
        context["template"] = "+%(expressions)s"
        return self.as_sql(compiler, connection, **context)


class Sorted(Unindexed):
    """A column's value that no database reads from an index in its order."""

    template = "GREATEST(%(expressions)s, %(expressions)s)"


class SameText(Exact):
    """Whether a text is another, letter by letter.

    MySQL and MariaDB take "solve" for "Solve" too; they still find it by an index.
    """

    def as_mysql(self, compiler: Any, connection: Any) -> Any:
        """Compare the bytes as well."""
        column, names = self.process_lhs(compiler, connection)
        text, values = self.process_rhs(compiler, connection)
        as_bytes = f"CAST(CONVERT({column} USING utf8mb4) AS BINARY)"
        params = (*names, *values)
        return f"({column} = {text} AND {as_bytes} = {text})", (*params, *params)


def same_text(column: str, text: str) -> Q:
    """Return the condition that a column has just this text."""
    return Q(SameText(F(column), text))
