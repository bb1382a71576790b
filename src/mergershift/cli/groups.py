"""Commands and groups of the command line, with lazy loading, suggestions for misspelt names, and --debug."""

from __future__ import annotations

import errno
import traceback
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, ClassVar

import click

from mergershift.core.errors import UserError, nearest, similar

_DEBUG = "mergershift.debug"
_REMEDIES = {
    errno.ENOSPC: "Make room on that disk and run the same command again.",
    errno.EDQUOT: "Make room in your quota and run the same command again.",
    errno.EACCES: "Change the permissions of that file or folder and run the same command again.",
    errno.EPERM: "Change the permissions of that file or folder and run the same command again.",
    errno.EROFS: "That file system is read-only: use a different one.",
}


def _remember(context: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    context.meta[_DEBUG] = wanted or context.meta.get(_DEBUG, False)


class Command(click.Command):
    """A command that accepts --debug and reports operating-system errors as a UserError.

    Args:
        sections: The heading of a section of options in the help, by the option that begins it; without one, all
            options have the heading `Options`.
    """

    def __init__(self, *args: Any, sections: Mapping[str, str] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._sections = sections or {}

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options under the headings of their sections."""
        parts: dict[str, list[tuple[str, str]]] = {}
        heading = "Options"
        for parameter in self.get_params(ctx):
            heading = self._sections.get(parameter.opts[0], heading)
            record = parameter.get_help_record(ctx) if isinstance(parameter, click.Option) else None
            if record is not None:
                parts.setdefault(heading, []).append(record)
        for heading, records in parts.items():
            with formatter.section(heading):
                formatter.write_dl(records)

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Add --debug before --help."""
        debug = click.Option(
            ["--debug"],
            is_flag=True,
            expose_value=False,
            callback=_remember,
            help="Print the traceback of an error.",
        )
        *own, last = super().get_params(ctx)
        return [*own, debug, last]

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; an OSError becomes a UserError that names the command and the file."""
        try:
            return super().invoke(ctx)
        except (UserError, OSError) as error:
            if isinstance(error, OSError) and error.errno == errno.EPIPE:
                raise  # the reader of the output has closed the pipe; click exits quietly
            if ctx.meta.get(_DEBUG):
                traceback.print_exc()
            if isinstance(error, OSError):
                raise UserError(system_error(ctx.command_path, error)) from error
            raise


def system_error(operation: str, error: OSError) -> str:
    """Word an error of the operating system with the operation that it stopped, the file and a remedy."""
    where = f"{error.filename}: " if error.filename else ""
    remedy = _REMEDIES.get(error.errno or 0, f"Run `{operation} --debug` to see where it happened.")
    return f"{operation}: {where}{error.strerror or error} ({type(error).__name__}).\n{remedy}"


def no_such_option(error: click.NoSuchOption, arguments: Sequence[str]) -> str:
    """Word the mistake of an unknown option, with the override or the options that were probably meant.

    Args:
        error: the error.
        arguments: the whole command line, in which the option's value is looked up.
    """
    option, context = error.option_name, error.ctx
    where = context.command_path if context else "mergershift"
    first = f"'{option}' is not an option of {where}."
    parameters = context.command.get_params(context) if context else []
    options = [
        name
        for parameter in parameters
        if isinstance(parameter, click.Option) and not parameter.hidden
        for name in parameter.opts
    ]
    value = _value_of(option, arguments)
    meant: list[str] = []
    close = [name for name in options if name.lstrip("-") in similar(option.lstrip("-"), _bare(options))]
    if any(parameter.name == "overrides" for parameter in parameters):
        from mergershift.config import meant_by

        meant = meant_by(option, value, exact=True) or ([] if close else meant_by(option, value, exact=False))
    if meant:
        return f"{first}\nSettings are written KEY=VALUE, without hyphens: {' or '.join(meant)}."
    return f"{first}\nNearest: {', '.join(map(repr, close or options))}."


def _bare(options: Sequence[str]) -> list[str]:
    return [name.lstrip("-") for name in options]


def _value_of(option: str, arguments: Sequence[str]) -> str | None:
    for number, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name == option:
            following = arguments[number + 1 : number + 2]
            return value if equals else next((text for text in following if not text.startswith("-")), None)
    return None


class OrderedGroup(click.Group):
    """A group that lists its commands in order of use and suggests the nearest ones for a misspelt name."""

    command_class = Command
    sections: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """Names of the commands under each heading of the help; empty: one heading for all."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands under the headings of `sections`."""
        if not self.sections:
            super().format_commands(ctx, formatter)
            return
        width = max(len(name) for names in self.sections.values() for name in names)
        for heading, names in self.sections.items():
            rows = []
            for name in names:
                command = self.get_command(ctx, name)
                assert command is not None
                rows.append((name.ljust(width), command.get_short_help_str(formatter.width - width - 6)))
            with formatter.section(heading):
                formatter.write_dl(rows)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of the commands, in the order in which they were added."""
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that `args` names; raises UserError if there is none of that name."""
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            known = [
                name
                for name in self.list_commands(ctx)
                if (command := self.get_command(ctx, name)) and not command.hidden
            ]
            raise UserError(
                f"'{args[0]}' is not a command of {ctx.command_path}.\nNearest: {nearest(args[0], known)}."
            )
        return super().resolve_command(ctx, args)


class LazyGroup(OrderedGroup):
    """A group whose commands are defined in another module, which is imported when one of them is needed."""

    def __init__(self, *args: Any, module: str, attribute: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._module, self._attribute = module, attribute

    def _load(self) -> click.Group:
        group = getattr(import_module(self._module), self._attribute)
        assert isinstance(group, click.Group)
        return group

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of the other module's commands."""
        return list(self._load().commands)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Command of this name in the other module, or None."""
        return self._load().get_command(ctx, cmd_name)
