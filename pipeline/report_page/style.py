"""The page's style sheet: light and dark, narrow and wide, on screen and on paper; it loads nothing."""

from __future__ import annotations

_COLOURS = """
:root{color-scheme:light;--page:#f6f7f9;--card:#fff;--ink:#1a2230;--soft:#5b6676;--line:#dfe3e9;--row:#f1f3f6;
--accent:#2563c9;--faint:#9db8e6;--warn:#b4531a;--warn-page:#fdf3ea;--mark:#ffe14d}
"""
_DARK = """
:root{color-scheme:dark;--page:#12161c;--card:#1b2129;--ink:#e6eaf0;--soft:#9aa6b6;--line:#303946;--row:#232b35;
--accent:#6ea3f7;--faint:#3f5c8f;--warn:#f0a06a;--warn-page:#33251b;--mark:#ffe14d}
"""
_STYLE = """
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,
"Noto Sans",sans-serif;overflow-wrap:break-word}
main{max-width:1240px;margin:0 auto;padding:20px 16px 60px}
h1{font-size:24px;line-height:1.25;margin:0}
h2{font-size:18px;margin:0 0 12px}
h3{font-size:15px;margin:20px 0 8px}
p{margin:0 0 10px}
.soft,.lead{color:var(--soft)}
.lead{margin:4px 0 0}
.private{margin:14px 0 0;padding:8px 12px;border-left:3px solid var(--warn);background:var(--warn-page);font-size:14px}
section{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:18px;margin:16px 0 0}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(132px,1fr));gap:1px;margin:0 0 18px;
background:var(--line);border:1px solid var(--line);border-radius:8px;overflow:hidden}
.tiles div{background:var(--card);padding:10px 12px}
.tiles dt{color:var(--soft);font-size:13px}
.tiles dd{margin:0;font-size:24px;line-height:1.3;font-weight:600;font-variant-numeric:tabular-nums}
.tiles dd small{display:block;font-size:12px;font-weight:400;color:var(--soft)}
.shares svg{display:block;width:100%;height:14px;border-radius:4px}
.legend{display:flex;flex-wrap:wrap;gap:4px 20px;list-style:none;margin:10px 0 0;padding:0;font-size:14px}
.legend i{display:inline-block;width:10px;height:10px;border-radius:2px;margin-right:7px}
.legend span{color:var(--soft)}
.done{fill:var(--accent);background:var(--accent)}
.faceless{fill:var(--faint);background:var(--faint)}
.refused{fill:var(--warn);background:var(--warn)}
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(262px,1fr));gap:22px 24px}
.plot{margin:0;max-width:400px}
.plot figcaption{margin:0 0 6px}
.plot figcaption b,.plot figcaption span{display:block}
.plot figcaption span{color:var(--soft);font-size:13px}
.plot svg{display:block;width:100%;height:auto}
.plot .row{fill:transparent}
.plot g:hover .row{fill:var(--row)}
.bar{fill:var(--accent)}
.label,.count{font-size:12px;fill:var(--soft);font-variant-numeric:tabular-nums}
.label{text-anchor:end}
.count{fill:var(--ink)}
.none{color:var(--soft);font-size:14px}
.pick{position:absolute;opacity:0;width:1px;height:1px}
.pick+label{display:inline-block;margin:0 6px 8px 0;padding:3px 11px;border:1px solid var(--line);border-radius:999px;
font-size:13.5px;cursor:pointer;user-select:none}
.pick+label:hover{background:var(--row)}
.pick:checked+label{background:var(--accent);border-color:var(--accent);color:var(--card)}
.pick:focus-visible+label{outline:2px solid var(--ink);outline-offset:2px}
.gallery{display:grid;grid-template-columns:repeat(auto-fill,minmax(210px,1fr));gap:16px;margin-top:8px}
.gallery figure{margin:0;min-width:0}
.frame{position:relative;display:flex;align-items:center;justify-content:center;aspect-ratio:1;background:var(--row);
border-radius:8px;overflow:hidden}
.frame svg{display:block;max-width:100%;max-height:100%;width:100%;height:100%}
.outline{fill:none;stroke:var(--mark);vector-effect:non-scaling-stroke;stroke-width:1.5}
.under{fill:none;stroke:#000;stroke-opacity:.55;vector-effect:non-scaling-stroke;stroke-width:3}
.gallery figcaption{font-size:13px;line-height:1.4;margin-top:6px;overflow-wrap:anywhere}
.gallery figcaption b{display:block;font-weight:600}
.gallery figcaption span{display:block;color:var(--soft)}
table{border-collapse:collapse;width:100%;font-size:14px}
th,td{text-align:left;vertical-align:top;padding:5px 14px 5px 0;border-bottom:1px solid var(--line)}
th{color:var(--soft);font-weight:500;font-size:13px}
td.number,th.number{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
.wide{overflow-x:auto}
.key{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;font-size:13px;overflow-wrap:anywhere}
td.key{min-width:140px}
th{white-space:nowrap}
.settings td:first-child{width:34%;min-width:150px;color:var(--soft)}
details{margin-top:14px}
summary{cursor:pointer;color:var(--soft)}
footer{margin-top:18px;color:var(--soft);font-size:13px}
@media(max-width:560px){main{padding:14px 10px 40px}section{padding:14px 12px}.tiles{grid-template-columns:1fr 1fr}
.gallery{grid-template-columns:1fr 1fr;gap:12px}.stack thead{display:none}.stack tr{display:block;padding:6px 0;
border-bottom:1px solid var(--line)}.stack td{display:block;border:0;padding:1px 0}}
"""
_PAPER = """
@media print{body{background:#fff;font-size:11pt}main{max-width:none;padding:0}
section{border:0;padding:8px 0;break-inside:auto}
.pick,.pick+label,summary{display:none}.plot,.gallery figure,tr{break-inside:avoid}h2{break-after:avoid}
.gallery{grid-template-columns:repeat(4,1fr)}
*{-webkit-print-color-adjust:exact;print-color-adjust:exact}}
"""


def style_sheet(filters: str) -> str:
    """The whole style sheet.

    Args:
        filters: rules that hide what is not chosen, see ``filter_rules``.
    """
    # On paper it is light, whatever the screen is.
    dark = f"@media screen and (prefers-color-scheme:dark){{{_DARK}}}"
    return "".join(part.replace("\n", "") for part in (_COLOURS, dark, _STYLE, filters, _PAPER))


def filter_rules(group: str, count: int, items: str) -> str:
    """Rules by which one of several radio buttons leaves the items of its class alone.

    Args:
        group: what the buttons' ids begin with; their numbers follow. The class of an item is that, too.
        count: of the buttons; there is one for all beside them.
        items: selects the items among what follows the buttons.

    Example usage::

        >>> filter_rules("kind", 1, ".gallery figure")
        '#kind0:checked~.gallery figure:not(.kind0){display:none}'
    """
    return "".join(f"#{group}{n}:checked~{items}:not(.{group}{n}){{display:none}}" for n in range(count))
