"""`devflow completion bash | zsh | fish`: prints the script with which a shell completes commands and options."""

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the completion script for a shell.

    \b
    bash:  eval "$(devflow completion bash)"     in ~/.bashrc
    zsh:   eval "$(devflow completion zsh)"      in ~/.zshrc
    fish:  devflow completion fish > ~/.config/fish/completions/devflow.fish
    """
    completer = get_completion_class(shell)
    assert completer is not None
    click.echo(completer(context.find_root().command, {}, "devflow", "_DEVFLOW_COMPLETE").source())
