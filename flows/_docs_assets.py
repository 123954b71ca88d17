"""The style sheet and the script that make Data Docs readable offline: our own, a few kilobytes, no framework."""

from __future__ import annotations

STYLE_NAME = "purplesky.css"
SCRIPT_NAME = "purplesky.js"

#: Colours shared by Data Docs and our own report pages; light, and dark where the reader's system asks for it.
COLOURS = """\
:root {
  color-scheme: light dark;
  --ink: #211b33; --soft: #665f7a; --line: #e3deee; --page: #faf9fd; --card: #ffffff; --accent: #6a3fc0;
  --good: #1d8a5a; --warn: #b7791f; --bad: #c53a3f; --none: #d5d0e2;
  --good-bg: #e5f5ed; --warn-bg: #fdf3dd; --bad-bg: #fdeaea; --none-bg: #f0edf7; --band: #cbb9ef;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ink: #ece8f6; --soft: #a49cba; --line: #3a3350; --page: #16121f; --card: #1f1a2c; --accent: #b397f5;
    --good: #4cc38a; --warn: #e0a94a; --bad: #f2777a; --none: #4a4363;
    --good-bg: #17352a; --warn-bg: #3a2f16; --bad-bg: #3f2024; --none-bg: #2a2440; --band: #54408a;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif;
}
a { color: var(--accent); }
code { font: 0.9em ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; }
"""

#: Great Expectations writes Bootstrap 4 class names: the few that its pages need.
STYLE = (
    COLOURS
    + """\
h4, h5, h6 { margin: 0; line-height: 1.3; }
h4 { font-size: 1.15rem; } h5 { font-size: 1.05rem; } h6, .h6 { font-size: 0.95rem; font-weight: 600; }
p { margin: 0 0 0.5rem; }
.lead { color: var(--soft); }
body > nav { height: auto !important; background: var(--card); border-bottom: 1px solid var(--line); }
body > nav { padding: 8px 24px; }
body > nav nav { display: flex; flex-wrap: wrap; align-items: center; gap: 6px 20px; }
.navbar-brand a { display: inline-block; background: #fff; border-radius: 6px; padding: 2px 8px; line-height: 0; }
.navbar-brand img { height: 34px !important; }
.breadcrumb { display: flex; flex-wrap: wrap; list-style: none; margin: 0; padding: 0; font-size: 0.9rem; }
.breadcrumb-item + .breadcrumb-item::before { content: "/"; color: var(--soft); padding: 0 8px; }
.breadcrumb-item.active { color: var(--soft); }
.container-fluid.pt-4 { max-width: 1280px; margin: 0 auto; padding: 24px; }
.container-fluid.pt-4 > .row { display: grid; grid-template-columns: minmax(190px, 230px) minmax(0, 1fr); gap: 28px; }
.sticky { position: sticky; top: 16px; }
.card { border: 1px solid var(--line); border-radius: 10px; background: var(--card); margin-bottom: 16px; }
.card-header { padding: 8px 12px; background: var(--none-bg); font-size: 0.9rem; }
.card-body { padding: 10px 12px; }
.btn { display: inline-block; border: 1px solid var(--accent); color: var(--accent); border-radius: 6px;
  padding: 2px 10px; cursor: pointer; font-size: 0.85rem; }
.btn.active { background: var(--accent); color: var(--card); }
.btn input { display: none; }
.nav { list-style: none; margin: 0; padding: 0; }
.nav-link { display: block; padding: 2px 4px; text-decoration: none; font-size: 0.9rem; overflow-wrap: anywhere; }
.nav-link:hover { text-decoration: underline; }
.ge-navigation-sidebar-container, .ge-navigation-sidebar-content { max-height: none !important; }
.ge-section { margin-bottom: 18px; background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  padding: 14px 18px; }
.alert { border-bottom: 1px solid var(--line); padding-bottom: 8px; margin-bottom: 8px; }
table { border-collapse: collapse; width: 100%; margin: 8px 0; font-size: 0.92rem; }
th { text-align: left; font-weight: 600; color: var(--soft); }
th, td { padding: 6px 10px; border-bottom: 1px solid var(--line); vertical-align: top; }
tr:last-child > td { border-bottom: 0; }
table.table > tbody > tr > td:first-child { white-space: nowrap; }
table table { background: var(--page); border-radius: 6px; }
.show-scrollbars { max-height: 24rem; overflow: auto; }
.table-responsive { overflow-x: auto; }
.badge { display: inline-block; border-radius: 5px; padding: 0 6px; background: var(--none-bg); font-size: 0.85em;
  font-weight: 600; overflow-wrap: anywhere; }
.badge-danger { background: var(--bad-bg); color: var(--bad); }
.text-success { color: var(--good); } .text-danger { color: var(--bad); } .text-warning { color: var(--warn); }
.fas { font-style: normal; font-weight: 700; }
.fa-check-circle::before { content: "\\2713"; } .fa-times::before { content: "\\2715"; }
.fa-exclamation-triangle::before { content: "!"; } .fa-question::before { content: "?"; }
hr { border: 0; margin: 4px; }
.collapse { display: none; } .collapse.show, .collapse:target { display: block; }
.cooltip { position: relative; } .cooltip .top { display: none; } .cooltip:hover .top { display: block; }
.alert-secondary ul { margin: 0.3rem 0 0; }
[hidden] { display: none !important; }
@media (max-width: 760px) {
  .container-fluid.pt-4 { padding: 14px; }
  .container-fluid.pt-4 > .row { grid-template-columns: minmax(0, 1fr); gap: 8px; }
  .card.d-none { display: none; }
  .sticky { position: static; }
  th, td { padding: 5px 6px; } td { overflow-wrap: anywhere; }
  table.table > tbody > tr > td:first-child { white-space: normal; }
  .ge-section { padding: 12px; } .card-body { padding: 8px 10px; }
}
"""
)

SCRIPT = """\
"use strict";
// The three things that Great Expectations' pages ask of Bootstrap and jQuery: unfold a block, and filter by outcome.
document.addEventListener("click", (event) => {
  const link = event.target.closest('[data-toggle="collapse"]');
  if (!link) return;
  event.preventDefault();
  const body = document.getElementById(link.getAttribute("href").slice(1));
  if (body) link.setAttribute("aria-expanded", String(body.classList.toggle("show")));
});
document.querySelectorAll(".btn-group-toggle .btn").forEach((button, _, all) =>
  button.addEventListener("click", () => all.forEach((other) => other.classList.toggle("active", other === button))));
function setSucceeded(hidden) {
  const each = (selector, act) => document.querySelectorAll(selector).forEach(act);
  each(".hide-succeeded-validation-target-child", (cell) => (cell.parentElement.hidden = hidden));
  each(".hide-succeeded-validations-column-section-target-child", (block) => {
    const section = block.closest(".ge-section");
    section.hidden = hidden;
    each(`a.nav-link[href="#${section.id}"]`, (link) => (link.parentElement.hidden = hidden));
  });
}
function showAllValidations() { setSucceeded(false); }
function hideSucceededValidations() { setSucceeded(true); }
"""
