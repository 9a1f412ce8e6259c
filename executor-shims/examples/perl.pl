#!/usr/bin/env perl
# Tasks in Perl, core modules only: a task is a sub that returns what JSON can express, or dies.
# reproq worker --executor ./perl.pl --allow-tasks tasks.
use strict;
use warnings;
use JSON::PP;

my %tasks = (
    'tasks.greet'      => sub { "Hello, $_[0]" },
    'conformance.echo' => sub { $_[0] },
    'conformance.fail' => sub { die "$_[0]\n" },
    'conformance.exit' => sub { exit $_[0] },
    'conformance.wait' => sub { $| = 1; print "waiting\n"; sleep 600 },
);

# Descriptor 3 takes one line; what is printed to STDOUT and STDERR is the log.
open my $channel, '>&=', $ENV{REPROQ_RESULT_FD} or die "A Reproq worker starts this program\n";
my $json = JSON::PP->new->utf8->allow_nonref->canonical;
my $file;
for my $at (0 .. $#ARGV) { $file = $ARGV[ $at + 1 ] if $ARGV[$at] eq '--payload-file' }

local $SIG{TERM} = sub { die "The worker stopped the run\n" };
my $result = eval {
    my $input = *STDIN;
    if (defined $file) { open $input, '<', $file or die "$file: $!\n" }
    my $spec = $json->decode(do { local $/; <$input> });
    my $task = $tasks{ $spec->{task_path} } or die "There is no task $spec->{task_path}\n";
    { ok => JSON::PP::true, return => $task->(@{ $spec->{args} }) };
};
chomp(my $message = $@);
$result //= { ok => JSON::PP::false, exception_class => 'TaskFailed', message => $message };
print {$channel} $json->encode($result), "\n";
exit !$result->{ok};
