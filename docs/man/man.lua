-- For pandoc: what man-pages(7) asks of a page. `code` becomes bold, with hyphens that can be
-- copied, and a link to another page the page's name in bold, with its section behind it.

local function escaped(text)
  return (text:gsub("\\", "\\e"):gsub("-", "\\-"):gsub("'", "\\(aq"):gsub("`", "\\(ga")
    :gsub("%^", "\\(ha"):gsub("~", "\\(ti"):gsub('"', "\\(dq"))
end

local function bold(text)
  return pandoc.RawInline("man", "\\fB" .. escaped(text) .. "\\fR")
end

function Code(element)
  return bold(element.text)
end

function CodeBlock(element)
  local lines = {}
  for line in (element.text .. "\n"):gmatch("(.-)\n") do
    -- A dot or an apostrophe at the beginning of a line would be a command.
    table.insert(lines, line == "" and "" or "\\&" .. escaped(line))
  end
  return pandoc.RawBlock("man", ".PP\n.RS 4\n.nf\n" .. table.concat(lines, "\n") .. "\n.fi\n.RE")
end

function Link(element)
  local name, section = pandoc.utils.stringify(element):match("^(.+)(%(%d%))$")
  if name then
    return { bold(name), pandoc.Str(section) }
  end
  return element.content
end
