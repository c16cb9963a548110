# What the Ruby programs share: saying what was checked, and asking the runner for something.

$stdout.sync = true

TENANT_A = ENV.fetch("TENANT_A").to_i
TENANT_B = ENV.fetch("TENANT_B").to_i
# How long the token of the renewal's check is good; it is waited for.
BRIEF_S = 2

def ok(check, seen)
  puts "ok #{check}: #{seen.to_s.tr("\n", " ")}"
end

def none(check, why)
  puts "none #{check}: #{why}"
end

def ask(*words)
  puts "ask #{words.join(" ")}"
  $stdin.gets.chomp
end

# Stands for the program's own way to a token: its identity provider.
def fetch_token(tenant, seconds = nil)
  ask("token", tenant, *seconds)
end

def equal(got, wanted)
  raise "got #{got.inspect}, wanted #{wanted.inspect}" unless got == wanted
end

# The message of the refusal, which must be of that class.
def refused(type)
  yield
rescue type => error
  error.message
else
  raise "was not refused"
end
