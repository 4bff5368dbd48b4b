"""The page that a magic link leads to: it asks whether to log in, and does so on a click alone.

Whatever reads mail before its reader does opens links; so opening this one changes nothing. What the link carries
behind its # stays in the browser until the click. The page is all there is: it loads nothing, and its policy lets run
what is written here and nothing else.
"""

from html import escape

from chalicelib.http import Response, browser

STYLE = """\
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { margin: 0; background: light-dark(#f6f6f3, #121315); color: light-dark(#1d1e20, #e9e9e6); }
main { max-width: 23rem; margin: 15vh auto 0; padding: 0 1.25rem; }
h1 { font-size: 1.5rem; letter-spacing: -.012em; }
button {
  width: 100%; padding: .65rem; border: 0; border-radius: 8px; font: inherit; font-weight: 550; cursor: pointer;
  background: light-dark(#3a4fc1, #a3b1ff); color: light-dark(#fff, #14172b);
}
button:disabled { opacity: .6; }
:focus-visible { outline: 2px solid light-dark(#3a4fc1, #a3b1ff); outline-offset: 2px; }
"""

SCRIPT = """\
const here = document.body.dataset, button = document.querySelector("button"), told = document.querySelector("p");
const token = location.hash.slice(1);
const tell = (text) => { told.textContent = text; };
if (!token) {
  button.hidden = true;
  tell("This page is opened by a link from a mail; the one that led here is not whole.");
}
button.onclick = async () => {
  button.disabled = true;
  tell("One moment ...");
  try {
    const answer = await fetch(here.verify, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ token }),
    });
    if (answer.ok) return location.replace(here.next);
    const failed = await answer.json();
    tell(failed.message);
    if (answer.status === 429 || answer.status >= 500) button.disabled = false;
    else button.hidden = true;
  } catch {
    tell("DevFlow could not be reached. Try again.");
    button.disabled = false;
  }
};
"""

HTML = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>Log in to DevFlow</title>
<style>{style}</style>
</head>
<body data-verify="{verify}" data-next="{next}">
<main>
<h1>Log in to DevFlow</h1>
<p role="status">This link logs you in, once.</p>
<button type="button">Log in</button>
<noscript>This page needs JavaScript.</noscript>
</main>
<script>{script}</script>
</body>
</html>
"""


def page(verify: str, after: str) -> Response:
    """`verify` is where the link is used up, `after` where somebody who has logged in goes; both as paths."""
    html = HTML.format(style=STYLE, script=SCRIPT, verify=escape(verify), next=escape(after))
    return browser.page(html, SCRIPT, STYLE)
