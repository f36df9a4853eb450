#!/usr/bin/env bash
# A Slurm cluster of this one machine, for tests. As root on Debian or Ubuntu:
#   slurm_cluster.sh install        slurm-wlm and munge by apt-get
#   slurm_cluster.sh start FOLDER   munged, slurmctld and slurmd with their state and logs in FOLDER
#   slurm_cluster.sh stop           end them and their jobs, and remove the configuration
set -euo pipefail

CONF=/etc/slurm/slurm.conf
MARK="# Written by tests/slurm_cluster.sh"

install() {
  command -v slurmctld slurmd munged sbatch > /dev/null && return
  apt-get update -qq
  # Debian's services would start a munged and a slurmctld of their own.
  DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends \
    slurm-wlm munge > /dev/null
}

start() {
  local folder=$1 host
  host=$(hostname -s)
  if [ -e $CONF ] && ! grep -qF "$MARK" $CONF; then
    echo "ERROR: $CONF exists: this machine belongs to a cluster already" >&2
    exit 2
  fi
  # What a run left that was killed.
  stop
  mkdir -p "$folder"/{state,spool} /run/munge /etc/slurm
  [ -e /etc/munge/munge.key ] || { dd if=/dev/urandom bs=1 count=1024 of=/etc/munge/munge.key 2> /dev/null; }
  chown munge: /run/munge /etc/munge/munge.key
  chmod 400 /etc/munge/munge.key
  cat > $CONF << EOF
$MARK
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
MpiDefault=none
SwitchType=switch/none
ReturnToService=2
SlurmdParameters=config_overrides
MinJobAge=3600
SchedulerParameters=sched_interval=1,batch_sched_delay=0
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
NodeName=$host NodeAddr=127.0.0.1 CPUs=2 RealMemory=8000 State=UNKNOWN
PartitionName=all Nodes=$host Default=YES MaxTime=INFINITE State=UP
EOF
  if ! munge --no-input > /dev/null 2>&1; then
    echo "# MungedPidFile=/run/munge/munged.pid" >> $CONF
    setsid runuser -u munge -- munged --pid-file=/run/munge/munged.pid
  fi
  setsid slurmctld
  setsid slurmd
  for _ in $(seq 60); do
    [ "$(sinfo --noheader --format %T 2> /dev/null)" = idle ] && return
    sleep 0.5
  done
  echo "ERROR: the node is not idle after 30 s; see $folder/*.log" >&2
  stop
  exit 2
}

# The daemons are those that the configuration names, whoever started them.
stop() {
  local file
  grep -qsF "$MARK" $CONF || return 0
  # A job outlives slurmd.
  timeout 20 scancel --user=root 2> /dev/null || true
  for _ in $(seq 40); do
    [ -n "$(timeout 20 squeue --noheader 2> /dev/null)" ] || break
    sleep 0.5
  done
  for file in $(sed -n 's/.*PidFile=//p' $CONF); do
    end "$file"
  done
  rm $CONF
}

# End the daemon that a pid file names and wait until it is gone, from 10 s on by SIGKILL.
end() {
  local pid name signal
  pid=$(cat "$1" 2> /dev/null) || return 0
  name=$(basename "$1" .pid)
  for signal in TERM KILL; do
    lives "$pid" "$name" || return 0
    kill -$signal "$pid" || true
    for _ in $(seq 100); do
      lives "$pid" "$name" || return 0
      sleep 0.1
    done
  done
  echo "ERROR: $name ($pid) does not end" >&2
  return 1
}

# Whether a process has this name still: its number may be another's by now, or a zombie's.
lives() {
  [[ $(cat "/proc/$1/stat" 2> /dev/null) == "$1 ($2) "[!Z]* ]]
}

"$@"
